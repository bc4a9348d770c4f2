"""``dbt.tests.adapter.utils.test_string_literal``."""

from dbt.tests.adapter.utils.test_string_literal import BaseStringLiteral


class TestStringLiteral(BaseStringLiteral):
    pass
