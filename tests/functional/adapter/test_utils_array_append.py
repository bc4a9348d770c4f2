"""``dbt.tests.adapter.utils.test_array_append``."""

from dbt.tests.adapter.utils.test_array_append import BaseArrayAppend


class TestArrayAppend(BaseArrayAppend):
    pass
