"""``dbt.tests.adapter.utils.test_cast_bool_to_text``."""

from dbt.tests.adapter.utils.test_cast_bool_to_text import BaseCastBoolToText


class TestCastBoolToText(BaseCastBoolToText):
    pass
