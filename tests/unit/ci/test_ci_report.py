"""Reports as a reader of Markdown sees them: to the letter, whole, and short enough."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from dbt.adapters.lakehouse.ci.markdown import block, clipped, code, escaped
from dbt.adapters.lakehouse.ci.report import LIMIT, MARK, markdown
from dbt.adapters.lakehouse.ci.values import DbtBuild, Differences, Node, Outcome, from_json, to_json
from dbt.adapters.lakehouse.lake.compare import ColumnChange, Comparison, RowChange, Rows

HOSTILE = "a|b`c` </code></details><script>x</script> **b** [l](http://e.x) @ann #12 _i_ ~~s~~ \\ &amp; <!-- x --> $x$ ünï 日本"


class Seen(HTMLParser):
    """Text and elements of a page; elements that are not closed in order are a fault."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[str] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        if tag not in ("br", "hr"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "td" in self.open:
            self.cells[-1] += data


def seen(text: str) -> Seen:
    """As GitHub renders it, near enough: CommonMark with tables, HTML let through."""
    return Seen(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def comparison(name: str = "orders", **more: Any) -> Comparison:
    kinds: dict[str, Any] = {"kind_before": "table", "kind_after": "table"}
    return Comparison(**{"schema": "shop", "name": name, "before": "b", "after": "a", **kinds, **more})


def node(name: str, kind: str = "model", status: str = "success", **more: Any) -> Node:
    relation = {"schema": "shop", "name": name} if kind == "model" else {}
    return Node(**{"id": f"{kind}.shop.{name}", "kind": kind, "status": status, **relation, **more})


BUILD = DbtBuild(
    passed=True,
    seconds=12.3,
    nodes=(
        node("orders"),
        node("apart", reused=True, saved=4.2),
        node("unique_id", "test", "pass"),
        node("unique_other", "test", "pass", reused=True, saved=0.5),
        node("late", "test", "warn", message="Got 3 results, configured to warn if != 0"),
    ),
)
OUTCOME = Outcome(
    action="build",
    passed=True,
    base="main",
    base_commit="b" * 40,
    branch="ci/pr-1",
    ref="ci/pr-1",
    head="a" * 40,
    build=BUILD,
)
CHANGED = comparison(
    rows_before=3,
    rows_after=4,
    columns=(
        ColumnChange(name="fresh", change="added", before=None, after="INTEGER"),
        ColumnChange(name="amount", change="retyped", before="INTEGER", after="BIGINT"),
        ColumnChange(name="gone", change="removed", before="DATE", after=None),
    ),
    rows=Rows(
        key=("id",),
        added=2,
        removed=1,
        changed=1,
        columns=(("amount", 1),),
        samples=(
            RowChange(change="removed", before={"id": 3, "amount": None, "gone": "x"}, after=None),
            RowChange(change="added", before=None, after={"id": 4, "amount": 1, "fresh": ""}, times=2),
            RowChange(
                change="changed",
                before={"id": 1, "amount": 1, "gone": "x"},
                after={"id": 1, "amount": 2, "fresh": 7},
                columns=("amount",),
            ),
        ),
    ),
    notes=("a note",),
)


def test_a_report() -> None:
    text = markdown(OUTCOME, Differences(relations=(CHANGED, comparison("new", kind_before=None, rows_after=7))))
    assert text.startswith(MARK + "\n")
    page = seen(text)
    assert page.cells[:10] == [
        "models", "2: 1 changed, 1 new, 1 reused",
        "tests", "2 passed, 1 with a warning (1 of them before)",
        "time", "12 s, 4.7 s saved by reuse",
        "branch", "ci/pr-1 at aaaaaaaa",
        "base", "main at bbbbbbbb",
    ]  # fmt: skip
    for row in (
        ["shop.orders", "1 added, 1 removed, 1 retyped", "3 → 4: 2 added, 1 removed, 1 changed"],
        ["removed", "3", "NULL", "x", ""],
        ["added ×2", "4", "1", "", "(empty)"],
        ["changed", "1", "1 → 2", "x", "7"],
        ["shop.new", "table", "7"],
        ["apart", "4.2 s"],
    ):
        assert "\n".join(row) in "\n".join(page.cells), row
    for said in (
        "column fresh INTEGER was added",
        "column amount is BIGINT, was INTEGER",
        "column gone DATE was removed",
        "a note",
        "rows are told apart by id",
        "changed: amount in 1 row",
        "Got 3 results, configured to warn if != 0",
        "lakehouse diff main ci/pr-1 --rows\n",
        "lakehouse query 'select * from shop.orders limit 10' --ref ci/pr-1\n",
    ):
        assert said in page.text, said
    assert page.elements.count("details") == 3


def test_what_failed_comes_with_its_message() -> None:
    failed = (
        node("orders", status="error", path="models/orders.sql", message="Binder Error:\n\n  LINE 1: nope\n    ^"),
        node("unique_id", "test", "fail", message="Got 2 results", failures=2),
        node("later", status="skipped"),
    )
    outcome = replace(
        OUTCOME, passed=False, ref="run/1", build=replace(BUILD, passed=False, nodes=failed, error="dbt\nbroke")
    )
    page = seen(markdown(outcome, Differences(relations=(CHANGED,), missing=("shop.old",), unseen=3)))
    assert "The build failed" in page.text
    assert "1 changed, 1 removed, 1 failed, 1 skipped, 3 more not looked at" in page.text
    assert "model orders in models/orders.sql" in page.text
    assert "Binder Error:\n\n  LINE 1: nope\n    ^" in page.text
    assert "dbt\nbroke" in page.text
    assert "shop.old: the project no longer has it; what it made stays until it is dropped" in page.text
    assert "branch\nrun/1 at aaaaaaaa" in "\n".join(page.cells)
    nothing = replace(outcome, head=None, ref=None, build=DbtBuild(passed=False, error="dbt broke"))
    assert seen(markdown(nothing, Differences())).cells[:2] == ["models", "none was built"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"published": "c" * 40, "ref": "main", "build": None}, "Published to main"),
        ({"ref": "main", "head": "b" * 40}, "main has it all already"),
        ({"passed": False, "ref": None, "head": None}, "The build failed; nothing was published to main"),
    ],
)
def test_titles_of_what_was_published(more: dict[str, Any], says: str) -> None:
    page = seen(
        markdown(replace(OUTCOME, action="publish", notes=("built anew: for a *reason*",), **more), Differences())
    )
    assert says in page.text
    assert "built anew: for a *reason*." in page.text
    # What was published stands at a commit, whatever becomes of branches.
    assert ("lakehouse diff bbbbbbbb cccccccc" in page.text) == ("published" in more)


def test_hostile_text_stays_text() -> None:
    change = ColumnChange(name=HOSTILE, change="retyped", before=HOSTILE, after=HOSTILE)
    sample = RowChange(change="changed", before={HOSTILE: HOSTILE}, after={HOSTILE: "x"}, columns=(HOSTILE,))
    rows = Rows(key=(HOSTILE,), changed=1, columns=((HOSTILE, 1),), samples=(sample,))
    torn = comparison(HOSTILE, columns=(change,), rows=rows, rows_before=1, rows_after=1, notes=(HOSTILE,))
    nodes = (node(HOSTILE, status="error", message=f"{HOSTILE}\n\n</pre>\n```\n{HOSTILE}", path=HOSTILE),)
    nodes += (node("w", "test", "warn", message=HOSTILE), node(HOSTILE, reused=True, saved=1.0))
    build = DbtBuild(passed=False, nodes=nodes, error=HOSTILE)
    outcome = replace(OUTCOME, passed=False, build=build, notes=(HOSTILE,), base=HOSTILE, ref=HOSTILE)
    text = markdown(outcome, Differences(relations=(torn,), missing=(HOSTILE,)))
    page = seen(text.replace("lakehouse diff", "").partition("### Look at it")[0])
    known = {
        "h2",
        "h3",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
        "p",
        "pre",
        "ul",
        "li",
        "details",
        "summary",
    }
    assert set(page.elements) <= known
    assert page.text.count("<script>x</script>") >= 10
    assert "@ann" not in text.partition("### Look at it")[0]
    # No name that a shell could read otherwise is offered to it.
    assert "lakehouse query" not in text


TEXTS = (HOSTILE, "", " ", "a\nb\n\n\nc", "\x00\x1b[31m", "|", "\\|", "1. x", "# x", "    x", "---")


@pytest.mark.parametrize("text", TEXTS)
def test_text_reads_as_it_is(text: str) -> None:
    shown = "".join(c for c in text if c.isprintable() or c == "\n")
    assert seen(f"| {code(text)} |\n| --- |\n").text.strip() == " ".join(shown.split())
    assert seen(block(text, 1000)).text.strip() == shown.strip()
    assert seen(f"x {escaped(text)}").elements == ["p"]


def test_a_cut_says_that_it_is_one() -> None:
    assert (clipped("abc", 3), clipped("abcd", 3), clipped("", 0)) == ("abc", "ab…", "")


def test_a_report_keeps_within_its_limit() -> None:
    def of(count: int, width: int) -> str:
        name = "n" * width
        relations = tuple(replace(CHANGED, name=f"{name}{number}") for number in range(count))
        nodes = tuple(node(f"{name}{n}", status="error", message="日本 <&|> " * width) for n in range(count))
        outcome = replace(OUTCOME, passed=False, build=replace(BUILD, nodes=nodes, error="&" * 100_000))
        return markdown(outcome, Differences(relations=relations, missing=(name,) * 2000))

    lengths = []
    for count, width in ((1, 10), (30, 50), (100, 10), (200, 100), (1000, 300)):
        text = of(count, width)
        lengths.append(len(text.encode()))
        page = seen(text)
        assert "What failed" in page.text
        assert f"{count:,} changed" in page.text
        assert ("shortened to fit" in page.text) == (count > 1 or "shortened" in text)
    assert max(lengths) <= LIMIT
    # As much as fits is said.
    small = markdown(OUTCOME, Differences(relations=(CHANGED,) * 60))
    assert "shortened" not in small
    assert "and 800 more" in markdown(OUTCOME, Differences(relations=(CHANGED,) * 1000)) or len(small) < LIMIT


def test_builds_travel_as_json() -> None:
    build = replace(BUILD, nodes=(*BUILD.nodes, node("k", key=("a", "b"))), error="e", invocation="i")
    assert from_json(to_json(build)) == build
