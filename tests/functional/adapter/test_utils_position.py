"""``dbt.tests.adapter.utils.test_position``."""

from dbt.tests.adapter.utils.test_position import BasePosition


class TestPosition(BasePosition):
    pass
