"""``dbt.tests.adapter.utils.test_current_timestamp``."""

from dbt.tests.adapter.utils.test_current_timestamp import (
    BaseCurrentTimestampAware,
)


class TestCurrentTimestampAware(BaseCurrentTimestampAware):
    pass
