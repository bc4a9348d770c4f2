"""``dbt.tests.adapter.utils.test_replace``."""

from dbt.tests.adapter.utils.test_replace import BaseReplace


class TestReplace(BaseReplace):
    pass
