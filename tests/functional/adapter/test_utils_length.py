"""``dbt.tests.adapter.utils.test_length``."""

from dbt.tests.adapter.utils.test_length import BaseLength


class TestLength(BaseLength):
    pass
