"""``dbt.tests.adapter.store_test_failures_tests.test_store_test_failures``.

Tests that fail keep a run from being published, so the failures they store are on the run's branch. Where the suite looks
for them on the target itself, nodes are published one by one.
"""

import pytest
from dbt.tests.adapter.store_test_failures_tests.test_store_test_failures import (
    BaseStoreTestFailures,
    BaseStoreTestFailuresLimit,
)
from dbt.tests.util import get_artifact, run_dbt


class _PublishEachNode:
    """The suite looks for stored failures on the target, where a run with failed tests publishes nothing."""

    @pytest.fixture(scope="class")
    def publish_mode(self):
        return "each_node"


class TestStoreTestFailures(_PublishEachNode, BaseStoreTestFailures):
    pass


class TestStoreTestFailuresLimit(_PublishEachNode, BaseStoreTestFailuresLimit):
    pass


class TestFailuresOfARunThatIsNotPublished(BaseStoreTestFailuresLimit):
    """They are read at the run's branch, which carries the invocation's id."""

    def test_store_limit(self, project, clean_up):
        results = run_dbt(["test"], expect_pass=False)
        invocation = get_artifact("target", "run_results.json")["metadata"]["invocation_id"]
        relation = results.results[0].node.relation_name.replace('"lake"', f'"lake@run/{invocation}"', 1)
        assert project.run_sql(f"select count(*) from {relation}", fetch="one") == (4,)
