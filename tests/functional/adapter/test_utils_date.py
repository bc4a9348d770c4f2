"""``dbt.tests.adapter.utils.test_date``."""

from dbt.tests.adapter.utils.test_date import BaseDate


class TestDate(BaseDate):
    pass
