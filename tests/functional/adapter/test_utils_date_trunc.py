"""``dbt.tests.adapter.utils.test_date_trunc``."""

from dbt.tests.adapter.utils.test_date_trunc import BaseDateTrunc


class TestDateTrunc(BaseDateTrunc):
    pass
