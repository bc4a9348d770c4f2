"""``dbt.tests.adapter.utils.test_concat``."""

from dbt.tests.adapter.utils.test_concat import BaseConcat


class TestConcat(BaseConcat):
    pass
