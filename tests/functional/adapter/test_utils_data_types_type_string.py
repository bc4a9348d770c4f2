"""``dbt.tests.adapter.utils.data_types.test_type_string``."""

from dbt.tests.adapter.utils.data_types.test_type_string import BaseTypeString


class TestTypeString(BaseTypeString):
    pass
