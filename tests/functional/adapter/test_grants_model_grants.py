"""``dbt.tests.adapter.grants.test_model_grants``, on a service."""

from dbt.tests.adapter.grants.test_model_grants import BaseModelGrants
from grants_service import OnAService


class TestModelGrants(OnAService, BaseModelGrants):
    pass
