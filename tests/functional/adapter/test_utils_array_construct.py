"""``dbt.tests.adapter.utils.test_array_construct``."""

from dbt.tests.adapter.utils.test_array_construct import BaseArrayConstruct


class TestArrayConstruct(BaseArrayConstruct):
    pass
