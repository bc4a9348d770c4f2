"""``dbt.tests.adapter.utils.test_source_freshness_custom_info``."""

from dbt.tests.adapter.utils.test_source_freshness_custom_info import BaseCalculateFreshnessMethod


class TestCalculateFreshnessMethod(BaseCalculateFreshnessMethod):
    pass
