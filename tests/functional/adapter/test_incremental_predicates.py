"""``dbt.tests.adapter.incremental.test_incremental_predicates``."""

from dbt.tests.adapter.incremental import test_incremental_predicates
from dbt.tests.adapter.incremental.test_incremental_predicates import BaseIncrementalPredicates


class TestIncrementalPredicates(BaseIncrementalPredicates):
    pass


class TestPredicates(test_incremental_predicates.TestPredicatesDeleteInsert):
    pass
