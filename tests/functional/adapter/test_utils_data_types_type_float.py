"""``dbt.tests.adapter.utils.data_types.test_type_float``."""

import pytest
from dbt.tests.adapter.utils.data_types.test_type_float import BaseTypeFloat


class TestTypeFloat(BaseTypeFloat):
    @pytest.fixture(scope="class")
    def project_config_update(self):
        # As in dbt-duckdb, float is DuckDB's type of that name, and a seed's numbers with decimals are DOUBLE.
        return {"seeds": {"+column_types": {"float_col": "float"}}}
