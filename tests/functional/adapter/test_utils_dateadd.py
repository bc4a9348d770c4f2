"""``dbt.tests.adapter.utils.test_dateadd``."""

from dbt.tests.adapter.utils.test_dateadd import BaseDateAdd


class TestDateAdd(BaseDateAdd):
    pass
