"""``dbt.tests.adapter.incremental.test_incremental_predicates``."""

from dbt.tests.adapter.incremental.test_incremental_predicates import BaseIncrementalPredicates


class TestIncrementalPredicates(BaseIncrementalPredicates):
    pass
