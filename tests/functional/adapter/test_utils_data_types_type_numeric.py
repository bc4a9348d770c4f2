"""``dbt.tests.adapter.utils.data_types.test_type_numeric``."""

from dbt.tests.adapter.utils.data_types.test_type_numeric import BaseTypeNumeric


class TestTypeNumeric(BaseTypeNumeric):
    pass
