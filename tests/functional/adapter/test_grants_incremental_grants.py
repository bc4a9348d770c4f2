"""``dbt.tests.adapter.grants.test_incremental_grants``, on a service."""

from dbt.tests.adapter.grants.test_incremental_grants import BaseIncrementalGrants
from grants_service import OnAService


class TestIncrementalGrants(OnAService, BaseIncrementalGrants):
    pass
