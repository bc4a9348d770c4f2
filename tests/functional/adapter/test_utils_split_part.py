"""``dbt.tests.adapter.utils.test_split_part``."""

from dbt.tests.adapter.utils.test_split_part import BaseSplitPart


class TestSplitPart(BaseSplitPart):
    pass
