"""``dbt.tests.adapter.incremental.test_incremental_microbatch``."""

import pytest
from dbt.tests.adapter.incremental.test_incremental_microbatch import BaseMicrobatch
from dbt.tests.util import patch_microbatch_end_time, run_dbt

_DAYS = """
{{ config(materialized='table', event_time='event_time') }}
select id, timestamp '2019-12-31' + to_days(id) as event_time from (values (1), (2), (3)) as days(id)
"""


class TestMicrobatch(BaseMicrobatch):
    """DuckDB takes no time zone in a TIMESTAMP, which the suite's own literals have."""

    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return _DAYS

    @pytest.fixture(scope="class")
    def insert_two_rows_sql(self, project):
        target = f'"{project.database}"."{project.test_schema}".input_model'
        return f"insert into {target} (id, event_time) values (4, timestamp '2020-01-04'), (5, timestamp '2020-01-05')"


class TestBatchesReplaceTheirTime(BaseMicrobatch):
    """Late and corrected rows of a batch's time show when it runs again; other batches stay as they are."""

    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return _DAYS

    @pytest.fixture(scope="class")
    def insert_two_rows_sql(self):
        return ""

    def test_run_with_event_time(self, project, insert_two_rows_sql):
        with patch_microbatch_end_time("2020-01-03 13:57:00"):
            run_dbt(["run", "--full-refresh"])
        self.assert_row_count(project, "microbatch_model", 3)
        schema = project.test_schema
        project.run_sql(f"update {schema}.input_model set id = id + 100")
        project.run_sql(f"insert into {schema}.input_model values (7, timestamp '2020-01-02 23:59:59')")
        window = ["--event-time-start", "2020-01-02", "--event-time-end", "2020-01-03"]
        results = run_dbt(["run", "--select", "microbatch_model", *window])
        assert results[0].batch_results.successful
        rows = project.run_sql(f"select id from {schema}.microbatch_model order by event_time, id", fetch="all")
        assert rows == [(1,), (102,), (7,), (3,)]
