"""``dbt.tests.adapter.utils.test_datediff``."""

from dbt.tests.adapter.utils.test_datediff import BaseDateDiff


class TestDateDiff(BaseDateDiff):
    pass
