"""``dbt.tests.adapter.utils.data_types.test_type_int``."""

from dbt.tests.adapter.utils.data_types.test_type_int import BaseTypeInt


class TestTypeInt(BaseTypeInt):
    pass
