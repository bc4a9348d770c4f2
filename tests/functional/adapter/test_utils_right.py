"""``dbt.tests.adapter.utils.test_right``."""

from dbt.tests.adapter.utils.test_right import BaseRight


class TestRight(BaseRight):
    pass
