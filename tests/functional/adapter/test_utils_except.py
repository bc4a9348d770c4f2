"""``dbt.tests.adapter.utils.test_except``."""

from dbt.tests.adapter.utils.test_except import BaseExcept


class TestExcept(BaseExcept):
    pass
