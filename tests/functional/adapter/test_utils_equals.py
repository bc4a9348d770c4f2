"""``dbt.tests.adapter.utils.test_equals``."""

from dbt.tests.adapter.utils.test_equals import BaseEquals


class TestEquals(BaseEquals):
    pass
