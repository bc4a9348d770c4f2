"""``dbt.tests.adapter.utils.data_types.test_type_bigint``."""

from dbt.tests.adapter.utils.data_types.test_type_bigint import BaseTypeBigInt


class TestTypeBigInt(BaseTypeBigInt):
    pass
