"""``dbt.tests.adapter.utils.test_last_day``."""

from dbt.tests.adapter.utils.test_last_day import BaseLastDay


class TestLastDay(BaseLastDay):
    pass
