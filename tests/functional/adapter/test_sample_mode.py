"""``dbt.tests.adapter.sample_mode.test_sample_mode``."""

import pandas  # noqa: F401 # imported for the first time while the suite has the time frozen, it crashes
import pytest
from dbt.tests.adapter.sample_mode.test_sample_mode import BaseSampleModeTest


class TestSampleMode(BaseSampleModeTest):
    """DuckDB takes no time zone in a TIMESTAMP, which the suite's own literals have."""

    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return """
        {{ config(materialized='table', event_time='event_time') }}
        select * from (values
            (1, timestamp '2025-01-01 01:25:00'), (2, timestamp '2025-01-02 13:47:00'), (3, timestamp '2025-01-03 01:32:00')
        ) as moments(id, event_time)
        """
