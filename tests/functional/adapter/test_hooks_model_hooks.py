"""``dbt.tests.adapter.hooks.test_model_hooks``."""

from pathlib import Path

import pytest
from dbt.tests.adapter.hooks import test_model_hooks
from dbt.tests.adapter.hooks.test_model_hooks import (
    BaseDuplicateHooksInConfigs,
    BaseHookRefs,
    BaseHooksRefsOnSeeds,
    BasePrePostModelHooks,
    BasePrePostModelHooksInConfig,
    BasePrePostModelHooksInConfigKwargs,
    BasePrePostModelHooksInConfigWithCount,
    BasePrePostModelHooksOnSeeds,
    BasePrePostModelHooksOnSeedsPlusPrefixed,
    BasePrePostModelHooksOnSeedsPlusPrefixedWhitespace,
    BasePrePostModelHooksOnSnapshots,
    BasePrePostSnapshotHooksInConfigKwargs,
)


@pytest.fixture(scope="module")
def test_data_dir():
    return Path(test_model_hooks.__file__).parent / "data"


class _Target:
    """What this adapter's ``target`` says, where the suite expects that of its Postgres server."""

    def check_hooks(self, state, project, host, count=1):
        for row in self.get_ctx_vars(state, count=count, project=project):
            assert row["test_state"] == state
            assert row["target_name"] == "default"
            assert row["target_schema"] == project.test_schema
            assert row["target_threads"] == 4
            assert row["target_type"] == "lakehouse"
            assert {row[f"target_{key}"] for key in ("dbname", "host", "user", "pass")} == {""}
            assert row["run_started_at"]
            assert row["invocation_id"]
            assert row["thread_id"].startswith("Thread-")


class TestPrePostModelHooks(_Target, BasePrePostModelHooks):
    pass


class TestPrePostModelHooksWithUnderscores(_Target, test_model_hooks.TestPrePostModelHooksUnderscores):
    pass


class TestHookRefs(_Target, BaseHookRefs):
    pass


class TestPrePostModelHooksOnSeeds(BasePrePostModelHooksOnSeeds):
    pass


class TestHooksRefsOnSeeds(BaseHooksRefsOnSeeds):
    pass


class TestPrePostModelHooksOnSeedsPlusPrefixed(BasePrePostModelHooksOnSeedsPlusPrefixed):
    pass


class TestPrePostModelHooksOnSeedsPlusPrefixedWhitespace(BasePrePostModelHooksOnSeedsPlusPrefixedWhitespace):
    pass


class TestPrePostModelHooksOnSnapshots(BasePrePostModelHooksOnSnapshots):
    pass


class TestPrePostModelHooksInConfig(_Target, BasePrePostModelHooksInConfig):
    pass


class TestPrePostModelHooksInConfigWithCount(_Target, BasePrePostModelHooksInConfigWithCount):
    pass


class TestPrePostModelHooksInConfigKwargs(_Target, BasePrePostModelHooksInConfigKwargs):
    pass


class TestPrePostSnapshotHooksInConfigKwargs(BasePrePostSnapshotHooksInConfigKwargs):
    pass


class TestDuplicateHooksInConfigs(BaseDuplicateHooksInConfigs):
    pass
