"""``dbt.tests.adapter.utils.test_any_value``."""

from dbt.tests.adapter.utils.test_any_value import BaseAnyValue


class TestAnyValue(BaseAnyValue):
    pass
