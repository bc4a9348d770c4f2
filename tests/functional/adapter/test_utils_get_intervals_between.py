"""``dbt.tests.adapter.utils.test_get_intervals_between``."""

import pytest
from dbt.tests.adapter.utils.fixture_get_intervals_between import (
    models__test_get_intervals_between_sql,
    models__test_get_intervals_between_yml,
)
from dbt.tests.adapter.utils.test_get_intervals_between import BaseGetIntervalsBetween


class TestGetIntervalsBetween(BaseGetIntervalsBetween):
    """The suite writes dates as 09/01/2023, and DuckDB reads them in ISO's order only."""

    @pytest.fixture(scope="class")
    def models(self):
        sql = models__test_get_intervals_between_sql.replace("09/01/2023", "2023-09-01").replace(
            "09/12/2023", "2023-09-12"
        )
        return {
            "test_get_intervals_between.yml": models__test_get_intervals_between_yml,
            "test_get_intervals_between.sql": self.interpolate_macro_namespace(sql, "get_intervals_between"),
        }
