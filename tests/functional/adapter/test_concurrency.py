"""``dbt.tests.adapter.concurrency.test_concurrency``."""

import pytest
from dbt.tests.adapter.concurrency.test_concurrency import BaseConcurrency


class TestConcurrency(BaseConcurrency):
    """One of the models fails, and the others are looked at on the target all the same."""

    @pytest.fixture(scope="class")
    def publish_mode(self):
        return "each_node"
