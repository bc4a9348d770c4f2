"""What ``lakehouse dev`` shows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from dbt.adapters.lakehouse.cli.dev_screen import JsonScreen, TextScreen, fitting
from dbt.adapters.lakehouse.cli.output import Output
from dbt.adapters.lakehouse.dev.values import Build, Cause, Look, Node, NodeResult, Problem, Setting
from dbt.adapters.lakehouse.lake.compare import ColumnChange, Comparison, RowChange, Rows
from dbt.adapters.lakehouse.tables.values import Column

ORDERS = Node(
    id="model.shop.orders", kind="model", name="orders", path="models/orders.sql", relation=("shop", "orders")
)
TEST = Node(id="test.shop.unique", kind="test", name="unique", path="models/schema.yml")
SETTING = Setting(project="shop", target="dev", branch="ann", base="main")
BUILT = NodeResult(node=ORDERS, status="built", seconds=0.25)
COLUMNS = (Column(name="id", type="INTEGER"), Column(name="amount", type="DECIMAL(4,1)"))


def comparison(**more: Any) -> Comparison:
    known: dict[str, Any] = {"kind_before": "table", "kind_after": "table", "rows_before": 3, "rows_after": 3, **more}
    return Comparison(schema="shop", name="orders", before="b" * 40, after="a" * 40, **known)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (comparison(kind_before=None, rows_before=None), "orders against main: new, 3 rows"),
        (comparison(kind_after=None, rows_after=None), "orders against main: gone"),
        (comparison(rows=Rows()), "orders against main: the same, 3 rows"),
        (comparison(rows_after=1_000), "orders against main: 3 → 1,000 rows"),
        (comparison(kind_after="view", rows=Rows()), "orders against main: 3 rows, table → view, rows the same"),
        (
            comparison(reordered=True, rows=Rows()),
            "orders against main: 3 rows, columns in another order, rows the same",
        ),
        (
            comparison(rows=Rows(key=("id",), added=1, removed=1, changed=2, columns=(("amount", 2), ("who", 1)))),
            "orders against main: 3 rows, 1 added, 1 removed, 2 changed (amount in 2, who in 1)",
        ),
    ],
)
def test_a_difference_in_words(capsys: pytest.CaptureFixture[str], found: Comparison, text: str) -> None:
    TextScreen(Output()).compared(ORDERS, "main", found)
    assert said(capsys).strip() == text


def test_columns_rows_and_notes_of_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (
        ColumnChange(name="paid", change="added", before=None, after="BOOLEAN"),
        ColumnChange(name="who", change="removed", before="VARCHAR", after=None),
        ColumnChange(name="Amount", change="retyped", before="INTEGER", after="DOUBLE"),
    )
    samples = (
        RowChange(change="removed", before={"id": 3, "who": None}, after=None, times=2),
        RowChange(change="changed", before={"id": 1, "AMOUNT": 1}, after={"id": 1, "Amount": 2.5}, columns=("Amount",)),
    )
    rows = Rows(key=("id",), removed=2, changed=1, samples=samples)
    TextScreen(Output()).compared(ORDERS, "main", comparison(columns=columns, rows=rows, notes=("a view was counted",)))
    assert said(capsys).splitlines()[1:] == [
        "  + paid BOOLEAN",
        "  - who VARCHAR",
        "  ~ Amount INTEGER → DOUBLE",
        "  - id=3, who=NULL  ×2",
        "  ~ id=1  Amount: 1 → 2.5",
        "  a view was counted",
    ]


def test_a_build(capsys: pytest.CaptureFixture[str]) -> None:
    screen = TextScreen(Output())
    with screen.building(Cause(files=tuple(f"models/m{n}.sql" for n in range(7)), removed=("old",))):
        screen.running("orders")
    screen.looked(BUILT, Look(node=ORDERS, ref="ann", columns=COLUMNS, rows=[(1, Decimal("2.5")), (2, None)]))
    failed = NodeResult(
        node=TEST,
        status="fail",
        seconds=0.1,
        problem=Problem(message="Got 2 results", path="models/schema.yml", line=4),
    )
    screen.built(Build(ok=False, run="r", seconds=1.5, results=(BUILT, failed)), SETTING)
    text = said(capsys)
    assert "models/m4.sql and 2 more changed" in text
    assert "old is gone from the project" in text
    assert "orders  shop.orders, built in 0.25 s" in text
    assert "2    NULL" in text
    assert "unique failed  models/schema.yml:4\n  Got 2 results" in text
    assert "1 built, 1 test failed; nothing was published  1.5 s" in text


def test_what_models_hold_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = TextScreen(Output())
    screen.looked(BUILT, Look(node=ORDERS, ref="ann", columns=COLUMNS[:1], rows=[("\x1b[2J",)]))
    screen.said("\x1b]0;title\x07 [bold]")
    screen.problem(Problem(message="\x1b[31mred"))
    text = said(capsys)
    assert "\x1b" not in text
    assert "[bold]" in text


@pytest.mark.parametrize(("width", "shown"), [(80, 3), (14, 2), (13, 1), (3, 1), (1_000_000, 3)])
def test_as_many_columns_as_fit(width: int, shown: int) -> None:
    assert fitting(["id", "name", "x"], [["1", "longer", "1"]], width) == shown


def test_json_is_one_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = JsonScreen(Output(json=True))
    screen.started(SETTING)
    with screen.building(Cause(files=("models/orders.sql",))):
        screen.running("orders")
    screen.looked(BUILT, Look(node=ORDERS, ref="ann", columns=COLUMNS, rows=[(1, Decimal("2.5"))]))
    rows = Rows(key=("id",), added=1, samples=(RowChange(change="added", before=None, after={"id": 1}),))
    screen.compared(ORDERS, "main", comparison(rows=rows))
    screen.built(Build(ok=True, run="r", seconds=1.0, results=(BUILT,)), SETTING)
    screen.problem(Problem(message="two\nlines", path="models/a.sql", line=1))
    screen.waiting()
    started, build, problem, waiting = (json.loads(line) for line in said(capsys).splitlines())
    assert started == {"event": "started", "project": "shop", "target": "dev", "branch": "ann", "base": "main"}
    (node,) = build["nodes"]
    assert node["rows"] == [{"id": 1, "amount": "2.5"}]
    assert node["columns"][1] == {"name": "amount", "type": "DECIMAL(4,1)"}
    assert node["diff"]["rows"]["samples"] == [
        {"change": "added", "before": None, "after": {"id": 1}, "columns": [], "times": 1}
    ]
    assert problem == {"event": "problem", "message": "two\nlines", "path": "models/a.sql", "line": 1}
    assert waiting == {"event": "waiting"}


def test_without_the_library_that_watches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    from dbt.adapters.lakehouse.cli.main import main

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "watchfiles" else find(name))
    assert main(["dev"]) == 1
    assert "pip install 'dbt-lakehouse[watch]'" in capsys.readouterr().err


def test_a_lake_that_dbt_would_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    from dbt.adapters.lakehouse.cli.main import main

    assert main(["dev", "--warehouse", "./lake"]) == 2
    assert "dbt finds the lake in its profile" in capsys.readouterr().err


def test_where_no_project_is(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dbt.adapters.lakehouse.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["dev"]) == 1
    assert "there is no dbt_project.yml" in capsys.readouterr().err
