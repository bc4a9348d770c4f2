"""``dbt.tests.adapter.utils.test_array_concat``."""

from dbt.tests.adapter.utils.test_array_concat import BaseArrayConcat


class TestArrayConcat(BaseArrayConcat):
    pass
