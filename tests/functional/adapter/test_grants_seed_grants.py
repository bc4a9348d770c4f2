"""``dbt.tests.adapter.grants.test_seed_grants``, on a service."""

from dbt.tests.adapter.grants.test_seed_grants import BaseSeedGrants
from grants_service import OnAService


class TestSeedGrants(OnAService, BaseSeedGrants):
    pass
