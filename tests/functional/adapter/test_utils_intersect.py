"""``dbt.tests.adapter.utils.test_intersect``."""

from dbt.tests.adapter.utils.test_intersect import BaseIntersect


class TestIntersect(BaseIntersect):
    pass
