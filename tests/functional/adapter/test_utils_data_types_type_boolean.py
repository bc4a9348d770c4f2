"""``dbt.tests.adapter.utils.data_types.test_type_boolean``."""

from dbt.tests.adapter.utils.data_types.test_type_boolean import BaseTypeBoolean


class TestTypeBoolean(BaseTypeBoolean):
    pass
