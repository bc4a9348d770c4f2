"""``dbt.tests.adapter.utils.test_generate_series``."""

from dbt.tests.adapter.utils.test_generate_series import BaseGenerateSeries


class TestGenerateSeries(BaseGenerateSeries):
    pass
