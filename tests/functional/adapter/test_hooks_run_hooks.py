"""``dbt.tests.adapter.hooks.test_run_hooks``."""

from pathlib import Path

import pytest
from dbt.tests.adapter.hooks import test_run_hooks
from dbt.tests.adapter.hooks.test_run_hooks import BaseAfterRunHooks, BasePrePostRunHooks


@pytest.fixture(scope="module")
def test_data_dir():
    return Path(test_run_hooks.__file__).parent / "data"


class TestPrePostRunHooks(BasePrePostRunHooks):
    """What this adapter's ``target`` says, where the suite expects that of its Postgres server."""

    def check_hooks(self, state, project, host):
        row = self.get_ctx_vars(state, project)
        assert row["test_state"] == state
        assert row["target_name"] == "default"
        assert row["target_schema"] == project.test_schema
        assert row["target_threads"] == 4
        assert row["target_type"] == "lakehouse"
        assert {row[f"target_{key}"] for key in ("dbname", "host", "user", "pass")} == {""}
        assert row["run_started_at"]
        assert row["invocation_id"]
        assert row["thread_id"].startswith("Thread-") or row["thread_id"] == "MainThread"


class TestAfterRunHooks(BaseAfterRunHooks):
    pass
