"""``dbt.tests.adapter.unit_testing.test_case_insensitivity``."""

from dbt.tests.adapter.unit_testing.test_case_insensitivity import BaseUnitTestCaseInsensivity


class TestUnitTestCaseInsensivity(BaseUnitTestCaseInsensivity):
    pass
