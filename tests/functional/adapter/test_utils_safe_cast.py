"""``dbt.tests.adapter.utils.test_safe_cast``."""

from dbt.tests.adapter.utils.test_safe_cast import BaseSafeCast


class TestSafeCast(BaseSafeCast):
    pass
