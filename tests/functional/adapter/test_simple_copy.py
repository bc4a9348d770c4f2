"""``dbt.tests.adapter.simple_copy``."""

import pytest
from dbt.tests.adapter.simple_copy.test_copy_uppercase import BaseSimpleCopyUppercase
from dbt.tests.adapter.simple_copy.test_simple_copy import EmptyModelsArentRunBase, SimpleCopyBase


class TestSimpleCopyBase(SimpleCopyBase):
    pass


class TestEmptyModelsArentRun(EmptyModelsArentRunBase):
    pass


class TestSimpleCopyUppercase(BaseSimpleCopyUppercase):
    """The suite's profile names its Postgres server, and a database in mixed case."""

    @pytest.fixture(scope="class")
    def dbt_profile_target(self, tmp_path_factory):
        warehouse = tmp_path_factory.mktemp("lake")
        return {"type": "lakehouse", "warehouse": str(warehouse), "database": "lakeMixedCase", "threads": 4}
