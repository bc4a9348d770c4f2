"""``dbt.tests.adapter.utils.test_date_spine``."""

import pytest
from dbt.tests.adapter.utils.fixture_date_spine import models__test_date_spine_sql, models__test_date_spine_yml
from dbt.tests.adapter.utils.test_date_spine import BaseDateSpine


class TestDateSpine(BaseDateSpine):
    """The suite's model casts its dates for Postgres only, and DuckDB adds no interval to text."""

    @pytest.fixture(scope="class")
    def models(self):
        sql = models__test_date_spine_sql.replace("'postgres'", "'lakehouse'")
        return {
            "test_date_spine.yml": models__test_date_spine_yml,
            "test_date_spine.sql": self.interpolate_macro_namespace(sql, "date_spine"),
        }
