"""Targets are branches: made on first use, followed from git, read from anywhere, changed by one run at a time."""

from __future__ import annotations

import subprocess

from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RefKind, RunStatus

SLOW = "select count(*) as n from range(30000) a(i), range(30000) b(j) where i + j < 0"


def test_a_branch_is_made_on_first_use(shop: Shop) -> None:
    shop.outputs(feature={"branch": "feature"}, deep={"branch": "deep", "from_branch": "feature"})
    shop.models(a="select 1 as id", b="select * from {{ ref('a') }}")
    shop.dbt("run")
    main = shop.head()
    shop.models(a="select 2 as id")
    shop.dbt("run", "--target", "feature", "--select", "a")
    assert shop.head() == main
    assert shop.tables("feature") == {"shop.a": [(2,)], "shop.b": [(1,)]}
    assert shop.log("feature")[1].id == main
    shop.models(a="select 3 as id")
    shop.dbt("run", "--target", "deep", "--select", "a")
    assert shop.log("deep")[1].id == shop.head("feature")
    shop.outputs(lost={"branch": "lost", "from_branch": "nowhere"})
    outcome = shop.dbt("run", "--target", "lost", code=None)
    assert outcome.code != 0
    assert "no branch, tag or commit 'nowhere'" in outcome.output
    assert shop.branches() == ["deep", "feature", "main"]


def test_branch_git_follows_what_is_checked_out(shop: Shop) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *arguments],
            cwd=shop.root,
            check=True,
            capture_output=True,
        )

    git("init", "-b", "main")
    git("commit", "--allow-empty", "-m", "start")
    git("checkout", "-b", "topic/one")
    shop.outputs(here={"branch": "git"})
    shop.models(a="select 1 as id")
    shop.dbt("run", "--target", "here")
    assert shop.tables() == {}
    assert shop.tables("topic/one") == {"shop.a": [(1,)]}
    git("checkout", "--detach")
    outcome = shop.dbt("run", "--target", "here", code=None)
    assert outcome.code != 0
    assert "git" in outcome.output
    assert "detached" in outcome.output or "no branch" in outcome.output


def test_other_states_are_read_as_they_were(shop: Shop) -> None:
    shop.models(
        a="select 1 as id",
        v="{{ config(materialized='view') }} select id * 10 as id from {{ ref('a') }}",
    )
    shop.dbt("run")
    first = shop.head()
    with shop.lake() as lake:
        lake.catalog.create_ref("v1", RefKind.TAG, "main")
    shop.outputs(dev2={"branch": "dev2"})
    shop.models(a="select 2 as id")
    shop.dbt("run", "--target", "dev2")
    shop.on_main("update shop.a set id = 3")
    shop.models(
        compared=f"""
        select a.id as here, m.id as main, t.id as tag, c.id as commit, v.id as view_here, w.id as view_there
        from {{{{ ref('a') }}}} a, "lake@main".shop.a m, "lake@v1".shop.a t, "lake@{first}".shop.a c,
             {{{{ ref('v') }}}} v, "lake@v1".shop.v w
        """,
    )
    shop.dbt("run", "--target", "dev2", "--select", "compared")
    assert shop.tables("dev2")["shop.compared"] == [(2, 3, 1, 1, 20, 10)]
    outcome = shop.dbt("show", "--inline", 'select * from "lake@nowhere".shop.a', code=None)
    assert outcome.code != 0
    assert "no branch, tag or commit 'nowhere'" in outcome.output
    shop.write(
        {"macros/wreck.sql": "{% macro wreck() %}{% do run_query('delete from \"lake@v1\".shop.a') %}{% endmacro %}"}
    )
    outcome = shop.dbt("run-operation", "wreck", code=1)
    assert "is read-only" in outcome.output


def test_clone_copies_nothing(shop: Shop) -> None:
    shop.outputs(copy={"schema": "copied"})
    shop.models(a="select 1 as id", v="{{ config(materialized='view') }} select * from {{ ref('a') }}")
    shop.dbt("run")
    (shop.root / "target").rename(shop.root / "state")
    files = sorted((shop.root / "lake").rglob("*.parquet"))
    shop.dbt("clone", "--target", "copy", "--state", "state")
    assert sorted((shop.root / "lake").rglob("*.parquet")) == files
    assert shop.tables()["copied.a"] == [(1,)]
    shop.on_main("update copied.a set id = 2")
    assert shop.tables()["shop.a"] == [(1,)]


def test_runs_on_different_tables_both_publish(shop: Shop) -> None:
    shop.models(a="select 1 as id", b=SLOW)
    shop.dbt("parse")
    with shop.start("run", "--select", "b") as slow, shop.start("run", "--select", "a", "--target-path", "t2") as quick:
        assert quick.wait().code == 0, quick.output
        assert slow.wait().code == 0, slow.output
    assert sorted(shop.tables()) == ["shop.a", "shop.b"]
    assert [run.status for run in shop.runs()] == [RunStatus.PUBLISHED] * 2


def test_of_two_runs_on_one_table_the_second_fails_whole(shop: Shop) -> None:
    shop.models(other="select 1 as id", b="select 1 as n")
    shop.dbt("run")
    shop.models(other="select 2 as id", b=SLOW)
    with shop.start("run", "--threads", "1") as slow:
        slow.until(lambda: any(name.startswith("run/") for name in shop.branches()))
        shop.on_main("update shop.b set n = 9")
        head = shop.head()
        outcome = slow.wait()
    assert outcome.code == 2, outcome.output
    assert "branch 'main' changed" in outcome.output
    assert "shop.b" in outcome.output
    assert shop.log()[0].id == head
    assert head[:8] in outcome.output
    assert shop.tables() == {"shop.b": [(9,)], "shop.other": [(1,)]}
    run = shop.runs()[0]
    assert run.status is RunStatus.FAILED
    assert "changed on both sides" in (run.error or "")


def test_two_first_runs_at_the_same_moment(shop: Shop) -> None:
    shop.outputs(new={"branch": "new"})
    shop.models(a="select 1 as id", b="select 2 as id")
    one = ("run", "--target", "new", "--select", "a", "--target-path", "t1")
    two = ("run", "--target", "new", "--select", "b", "--target-path", "t2")
    with shop.start(*one) as first, shop.start(*two) as second:
        assert first.wait().code == 0, first.output
        assert second.wait().code == 0, second.output
    assert shop.tables("new") == {"shop.a": [(1,)], "shop.b": [(2,)]}
    assert shop.tables() == {}
