"""``dbt.tests.adapter.utils.data_types.test_type_float``."""

import pytest
from dbt.tests.adapter.utils.data_types.test_type_float import BaseTypeFloat


class TestTypeFloat(BaseTypeFloat):
    """Postgres' float has 64 bits and DuckDB's 32, as in dbt-duckdb, so the seed's column is told to be one too."""

    @pytest.fixture(scope="class")
    def project_config_update(self):
        return {"seeds": {"+column_types": {"float_col": "float"}}}
