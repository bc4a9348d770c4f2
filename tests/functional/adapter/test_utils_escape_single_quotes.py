"""``dbt.tests.adapter.utils.test_escape_single_quotes``."""

from dbt.tests.adapter.utils.test_escape_single_quotes import (
    BaseEscapeSingleQuotesQuote,
)


class TestEscapeSingleQuotesQuote(BaseEscapeSingleQuotesQuote):
    pass
