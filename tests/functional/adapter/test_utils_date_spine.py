"""``dbt.tests.adapter.utils.test_date_spine``."""

import pytest
from dbt.tests.adapter.utils.fixture_date_spine import models__test_date_spine_sql, models__test_date_spine_yml
from dbt.tests.adapter.utils.test_date_spine import BaseDateSpine


class TestDateSpine(BaseDateSpine):
    @pytest.fixture(scope="class")
    def models(self):
        # Dates are cast, as for Postgres: DuckDB adds no interval to text.
        sql = models__test_date_spine_sql.replace("'postgres'", "'lakehouse'")
        return {
            "test_date_spine.yml": models__test_date_spine_yml,
            "test_date_spine.sql": self.interpolate_macro_namespace(sql, "date_spine"),
        }
