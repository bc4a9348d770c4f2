"""``dbt.tests.adapter.utils.test_cast``."""

from dbt.tests.adapter.utils.test_cast import BaseCast


class TestCast(BaseCast):
    pass
