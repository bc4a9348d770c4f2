"""``dbt.tests.adapter.grants.test_snapshot_grants``, on a service."""

from dbt.tests.adapter.grants.test_snapshot_grants import BaseSnapshotGrants
from grants_service import OnAService


class TestSnapshotGrants(OnAService, BaseSnapshotGrants):
    pass
