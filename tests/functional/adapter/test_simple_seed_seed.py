"""``dbt.tests.adapter.simple_seed.test_seed``."""

import shutil
from pathlib import Path

import pytest
from dbt.tests.adapter.simple_seed import seeds, test_seed
from dbt.tests.adapter.simple_seed.test_seed import (
    BaseBasicSeedTests,
    BaseSeedConfigFullRefreshOff,
    BaseSeedConfigFullRefreshOn,
    BaseSeedCustomSchema,
    BaseSeedParsing,
    BaseSeedSpecificFormats,
    BaseSeedWithEmptyDelimiter,
    BaseSeedWithUniqueDelimiter,
    BaseSeedWithWrongDelimiter,
    BaseSimpleSeedEnabledViaConfig,
    BaseSimpleSeedWithBOM,
    BaseTestEmptySeed,
)


class _NothingCascades:
    """The suite expects a view to vanish with the seed it reads, as in Postgres; DuckDB, and this adapter, keep it."""

    def _check_relation_end_state(self, run_result, project, exists):
        super()._check_relation_end_state(run_result, project, exists=True)


class TestBasicSeedTests(_NothingCascades, BaseBasicSeedTests):
    pass


class TestSeedConfigFullRefreshOn(_NothingCascades, BaseSeedConfigFullRefreshOn):
    pass


class TestSeedConfigFullRefreshOff(BaseSeedConfigFullRefreshOff):
    pass


class TestSeedCustomSchema(BaseSeedCustomSchema):
    pass


class TestSeedWithUniqueDelimiter(BaseSeedWithUniqueDelimiter):
    pass


class TestSeedWithWrongDelimiter(BaseSeedWithWrongDelimiter):
    pass


class TestSeedWithEmptyDelimiter(BaseSeedWithEmptyDelimiter):
    pass


class TestSimpleSeedEnabledViaConfig(BaseSimpleSeedEnabledViaConfig):
    pass


class TestSeedParsing(BaseSeedParsing):
    pass


class TestSimpleSeedWithBOM(BaseSimpleSeedWithBOM):
    """The suite looks for its data file beside the class that runs it, and is shown where it is."""

    @pytest.fixture(scope="class", autouse=True)
    def setUp(self, project):
        project.run_sql(seeds.seeds__expected_sql)
        shutil.copy(Path(test_seed.__file__).parent / "seed_bom.csv", Path(project.project_root, "seeds"))


class TestSeedSpecificFormats(BaseSeedSpecificFormats):
    pass


class TestTestEmptySeed(BaseTestEmptySeed):
    pass
