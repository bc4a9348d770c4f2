"""``dbt.tests.adapter.grants.test_invalid_grants``, on a service."""

from dbt.tests.adapter.grants.test_invalid_grants import BaseInvalidGrants
from grants_service import OnAService


class TestInvalidGrants(OnAService, BaseInvalidGrants):
    pass
