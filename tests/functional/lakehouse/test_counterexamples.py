"""The two holes that a published formal model of git-like lake catalogs leaves open, both of which it lets happen.

The first: a run fails half way, its branch stays, and somebody else branches off it and merges half a run into production.
The second: a run wrote two tables together, and somebody takes back one of them, so that the other stands on something that
is gone. Here both are refused, whichever way they are tried, and what should be done instead works.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus
from dbt.adapters.lakehouse.cli.main import main
from dbt.adapters.lakehouse.errors import TaintedError

T1 = "select 2 as id"
T2 = "select id * 10 as id from {{ ref('t1') }}"
BROKEN = "select error('on purpose') as id from {{ ref('t1') }}"
BEFORE = {"shop.t1": [(1,)], "shop.t2": [(10,)]}


def lakehouse(shop: Shop, *arguments: str, code: int = 0) -> str:
    """What the command says on both streams; its exit code must be ``code``."""
    return "".join(_called(shop, arguments, code))


def document(shop: Shop, *arguments: str, code: int = 0) -> Any:
    """The command's document."""
    return json.loads(_called(shop, (*arguments, "--json"), code)[0])


def _called(shop: Shop, arguments: Sequence[str], code: int) -> tuple[str, str]:
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        patch.chdir(shop.root)
        patch.setenv("LAKEHOUSE_WAREHOUSE", str(shop.root / "lake"))
        patch.setenv("NO_COLOR", "1")
        ended = main(arguments)
    assert ended == code, f"{arguments}: {out.getvalue()}{err.getvalue()}"
    return out.getvalue(), err.getvalue()


@pytest.fixture
def half(shop: Shop) -> Shop:
    """A shop whose last run wrote t1 and failed at t2."""
    shop.outputs(fix={"branch": "fix"}, copy={"schema": "shop"})
    shop.models(t1="select 1 as id", t2=T2)
    shop.dbt("run")
    shop.models(t1=T1, t2=BROKEN)
    shop.dbt("run", code=1)
    assert shop.runs()[0].status is RunStatus.FAILED
    assert shop.tables(shop.runs()[0].branch)["shop.t1"] == [(2,)]
    return shop


def test_half_a_failed_run_does_not_reach_main_by_a_second_actor(half: Shop) -> None:
    shop, failed, head = half, half.runs()[0], half.head()
    lakehouse(shop, "branch", "create", "theirs", "--from", failed.branch)
    lakehouse(shop, "branch", "create", "later", "--from", f"{failed.branch}~0")
    for source in ("theirs", "later", failed.branch, shop.head(failed.branch)):
        said = lakehouse(shop, "merge", source, "--into", "main", code=1)
        assert failed.id[:8] in said
        assert "shop.t1" in said
        lakehouse(shop, "merge", source, "--into", "main", "--no-ff", "--allow", "owner", "--allow", "schema", code=1)
        lakehouse(shop, "merge", source, "--into", "main", "--take", "theirs", code=1)
        assert "shop.t1" in lakehouse(shop, "merge", source, "--into", "main", "--dry-run", code=1)
        lakehouse(shop, "reset", "main", "--to", source, code=1)
        lakehouse(shop, "revert", "shop.t1", "--to", source, "--on", "main", "--knowingly", code=1)
        with shop.lake() as lake:
            with pytest.raises(TaintedError):
                lake.catalog.merge(source, "main", author="bob", message="mine now")
            with pytest.raises(TaintedError):
                lake.catalog.assign("main", source, expected=head)
    # Nor by a detour over work of one's own on top of it, or over another branch.
    shop.outputs(theirs={"branch": "theirs"})
    shop.models(mine="select 3 as id")
    shop.dbt("run", "--select", "mine", "--target", "theirs")
    assert set(shop.tables("theirs")) == {"shop.t1", "shop.t2", "shop.mine"}
    lakehouse(shop, "branch", "create", "detour")
    for source, target in (("theirs", "main"), ("theirs", "detour")):
        assert "shop.t1" in lakehouse(shop, "merge", source, "--into", target, code=1)
    assert shop.head() == head
    assert shop.tables() == BEFORE


def test_dbt_does_not_carry_half_a_failed_run_either(half: Shop) -> None:
    shop, failed, head = half, half.runs()[0], half.head()
    arguments = json.dumps({"from": failed.branch, "into": "main"})
    outcome = shop.dbt("run-operation", "lakehouse_merge", "--args", arguments, code=None)
    assert outcome.code != 0
    assert failed.id[:8] in outcome.output
    # A clone copies no rows: the very table of the failed run would stand on main.
    (shop.root / "target").rename(shop.root / "state")
    manifest = json.loads(shop.read("state/manifest.json"))
    for node in manifest["nodes"].values():
        node["database"] = f"lake@{failed.branch}"
        node["relation_name"] = node["relation_name"].replace('"lake"', f'"lake@{failed.branch}"')
    shop.write({"state/manifest.json": json.dumps(manifest)})
    outcome = shop.dbt("clone", "--select", "t1", "--target", "copy", "--state", "state", "--full-refresh", code=None)
    assert outcome.code != 0
    assert "shop.t1" in outcome.output
    assert shop.head() == head
    assert shop.tables() == BEFORE


def test_what_is_forked_fixed_and_built_is_merged_and_reuses_the_good_part(half: Shop) -> None:
    shop, failed = half, half.runs()[0]
    lakehouse(shop, "branch", "create", "fix", "--from", failed.branch)
    shop.models(t2=T2)
    outcome = shop.dbt("build", "--target", "fix")
    assert "Published to branch fix" in outcome.output
    results = json.loads(shop.read("target/run_results.json"))["results"]
    reused = {one["unique_id"] for one in results if one["adapter_response"].get("code") == "REUSED"}
    assert reused == {"model.shop.t1"}
    merged = document(shop, "merge", "fix", "--into", "main")
    assert merged["commit"]["id"] == shop.head()
    assert shop.tables() == {"shop.t1": [(2,)], "shop.t2": [(20,)]}
    assert "accepted_tainted" not in json.dumps(document(shop, "show", "main"))


def test_a_run_that_does_not_include_what_failed_does_not_clean_it(half: Shop) -> None:
    shop = half
    lakehouse(shop, "branch", "create", "fix", "--from", shop.runs()[0].branch)
    shop.models(t2=T2)
    shop.dbt("build", "--target", "fix", "--select", "t2")
    assert "shop.t1" in lakehouse(shop, "merge", "fix", "--into", "main", code=1)
    assert shop.tables() == BEFORE
    shop.dbt("build", "--target", "fix")
    lakehouse(shop, "merge", "fix", "--into", "main")
    assert shop.tables() == {"shop.t1": [(2,)], "shop.t2": [(20,)]}


def test_what_is_accepted_knowingly_is_recorded(half: Shop) -> None:
    shop, failed = half, half.runs()[0]
    merged = document(shop, "merge", failed.branch, "--into", "main", "--accept-tainted")
    assert shop.log()[0].id == merged["commit"]["id"]
    assert shop.log()[0].provenance["accepted_tainted"] == [failed.id]
    assert shop.tables() == {"shop.t1": [(2,)], "shop.t2": [(10,)]}
    # Nothing is clean by that: wherever it goes from there, it is accepted again, or built by a run that passes.
    lakehouse(shop, "branch", "create", "next", "--from", "main~1")
    assert "shop.t1" in lakehouse(shop, "merge", "main", "--into", "next", code=1)
    shop.models(t2=T2)
    shop.dbt("build", "--select", "t1")
    lakehouse(shop, "merge", "main", "--into", "next")
    assert shop.tables("next") == {"shop.t1": [(2,)], "shop.t2": [(10,)]}


@pytest.fixture
def together(shop: Shop) -> Shop:
    """A shop whose last run wrote t1, and t2 from it."""
    shop.models(t1="select 1 as id", t2=T2)
    shop.dbt("run")
    shop.models(t1=T1)
    shop.dbt("run")
    assert shop.tables() == {"shop.t1": [(2,)], "shop.t2": [(20,)]}
    return shop


def test_one_of_two_tables_that_a_run_wrote_together_is_not_reverted_alone(together: Shop) -> None:
    shop, head = together, together.head()
    said = lakehouse(shop, "revert", "shop.t1", "--to", "main~1", "--on", "main", code=1)
    assert "shop.t2" in said
    assert "--with-dependants" in said
    assert "--knowingly" in said
    refused = document(shop, "revert", "shop.t1", "--to", "main~1", "--on", "main", code=1)
    assert "t2" in json.dumps(refused)
    assert shop.head() == head
    lakehouse(shop, "check", "main")

    lakehouse(shop, "revert", "shop.t1", "--to", "main~1", "--on", "main", "--with-dependants")
    assert shop.tables() == BEFORE
    assert shop.log()[0].parents[0] == head
    lakehouse(shop, "check", "main")


def test_what_is_reverted_knowingly_is_recorded_and_leaves_the_other_stale(together: Shop) -> None:
    shop = together
    lakehouse(shop, "revert", "shop.t1", "--to", "main~1", "--on", "main", "--knowingly")
    assert shop.tables() == {"shop.t1": [(1,)], "shop.t2": [(20,)]}
    assert shop.log()[0].provenance["knowingly"] == ["shop.t2"]
    (stale,) = document(shop, "check", "main", code=1)
    assert (stale["schema_name"], stale["name"]) == ("shop", "t2")
    outcome = shop.dbt("run", "--select", "t1", code=None)
    assert outcome.code == 0
    # What is built again from what there is, is not stale.
    shop.dbt("run")
    assert document(shop, "check", "main") == []
    assert shop.tables() == {"shop.t1": [(2,)], "shop.t2": [(20,)]}


def test_a_whole_run_is_taken_back_at_once(together: Shop) -> None:
    shop, published = together, together.head()
    lakehouse(shop, "revert", published, "--on", "main")
    assert shop.tables() == BEFORE
    lakehouse(shop, "check", "main")
