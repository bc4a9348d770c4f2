"""``dbt.tests.adapter.utils.test_bool_or``."""

from dbt.tests.adapter.utils.test_bool_or import BaseBoolOr


class TestBoolOr(BaseBoolOr):
    pass
