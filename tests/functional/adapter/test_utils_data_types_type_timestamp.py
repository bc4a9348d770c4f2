"""``dbt.tests.adapter.utils.data_types.test_type_timestamp``."""

from dbt.tests.adapter.utils.data_types.test_type_timestamp import BaseTypeTimestamp


class TestTypeTimestamp(BaseTypeTimestamp):
    pass
