"""One relation at two refs, compared by real queries, in this process and through a service."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from service_thread import TOKEN, open_service, serving

from dbt.adapters.lakehouse.catalog.model import RefKind
from dbt.adapters.lakehouse.errors import RefNotFound
from dbt.adapters.lakehouse.executors.pool import PoolExecutor, PoolOptions
from dbt.adapters.lakehouse.lake.base import Lake
from dbt.adapters.lakehouse.lake.compare import Comparer, Comparison, Rows
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.run.values import RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode, ServiceSettings


@dataclass
class Two:
    """A lake with a branch ``main`` and a branch ``dev``."""

    lake: Lake
    runs: int = 0

    def write(self, branch: str, *statements: str) -> None:
        """Change a branch, each statement at once."""
        self.runs += 1
        run = self.lake.open_run(
            RunRequest(
                id=f"test-run-{self.runs}",
                command="test",
                branch=branch,
                publish=PublishMode.EACH_NODE,
                default_schema="s",
            )
        )
        with contextlib.closing(run.session()) as session:
            for statement in statements:
                session.execute(statement)

    def split(self, before: str | None, after: str | None, name: str = "t", kind: str = "TABLE") -> None:
        """Let what a SELECT gives stand on main, and what another gives on dev."""
        if "dev" in {ref.name for ref in self.lake.catalog.refs()}:
            self.lake.catalog.delete_ref("dev", expected=self.lake.catalog.resolve("dev").id)
        self.write("main", "CREATE SCHEMA IF NOT EXISTS s", f'DROP {kind} IF EXISTS s."{name}"')
        self.lake.catalog.create_ref("dev", RefKind.BRANCH, "main")
        for branch, sql in (("main", before), ("dev", after)):
            if sql is not None:
                self.write(branch, f'CREATE {kind} s."{name}" AS {sql}')

    def compare(self, *key: str, name: str = "t", **more: Any) -> Comparison:
        """What became of a relation from main to dev."""
        with Comparer(self.lake, before="main", after="dev") as comparer:
            return comparer.compare("s", name, key=key, **more)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("lake")
    settings = LakeSettings(
        warehouse=f"file://{folder}", catalog=f"sqlite:///{folder}/catalog.sqlite", memory_limit="300MB"
    )
    lake = EmbeddedLake.open(settings)
    yield Two(lake)
    lake.close()


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    where = LakeSettings(warehouse="", catalog="", memory_limit="300MB", workers=1)
    pool = PoolExecutor(where, PoolOptions(idle_seconds=600))
    folder = tmp_path_factory.mktemp("service")
    with open_service(folder, executor=pool) as service, serving(service) as url:
        lake = RemoteLake(ServiceSettings(url=url, token=TOKEN))
        yield Two(lake)
        lake.close()


@pytest.fixture(params=["embedded", "remote"])
def two(request: pytest.FixtureRequest) -> Two:
    found: Two = request.getfixturevalue(request.param)
    return found


def values(*rows: str, names: str = "id, a") -> str:
    return f"SELECT * FROM (VALUES {', '.join(rows)}) AS rows({names})"


def counts(found: Comparison) -> tuple[int, int, int]:
    assert found.rows is not None, found.notes
    return found.rows.added, found.rows.removed, found.rows.changed


def test_by_key(two: Two) -> None:
    two.split(values("(1, 'x')", "(2, 'y')", "(3, 'z')"), values("(1, 'x')", "(2, 'Y')", "(4, 'w')", "(5, 'v')"))
    found = two.compare("id", samples=5)
    assert (found.change, found.rows_before, found.rows_after, found.columns) == ("changed", 3, 4, ())
    assert counts(found) == (2, 1, 1)
    assert found.rows is not None
    assert (found.rows.key, found.rows.columns) == (("id",), (("a", 1),))
    shown = [(row.change, row.before, row.after, row.columns) for row in found.rows.samples]
    assert shown == [
        ("removed", {"id": 3, "a": "z"}, None, ()),
        ("added", None, {"id": 4, "a": "w"}, ()),
        ("added", None, {"id": 5, "a": "v"}, ()),
        ("changed", {"id": 2, "a": "y"}, {"id": 2, "a": "Y"}, ("a",)),
    ]
    fewer = two.compare("id", samples=1).rows
    assert fewer is not None
    assert [row.change for row in fewer.samples] == ["removed", "added", "changed"]


def test_without_a_key(two: Two) -> None:
    two.split(values("(1, 'x')", "(1, 'x')", "(2, NULL)"), values("(1, 'x')", "(2, NULL)", "(2, NULL)", "(2, NULL)"))
    found = two.compare(samples=5)
    assert (found.change, counts(found)) == ("changed", (2, 1, 0))
    assert found.rows is not None
    assert [(row.change, row.before, row.after, row.times) for row in found.rows.samples] == [
        ("removed", {"id": 1, "a": "x"}, None, 1),
        ("added", None, {"id": 2, "a": None}, 2),
    ]
    two.split(values("(1, 'x')", "(2, 'y')"), values("(2, 'y')", "(1, 'x')"))
    assert (two.compare().change, two.compare().rows) == ("same", Rows())


def test_the_refs_are_looked_up_once(embedded: Two) -> None:
    embedded.split(values("(1, 'x')"), values("(2, 'y')"))
    with Comparer(embedded.lake, before="main", after="dev") as comparer:
        embedded.write("dev", "DROP TABLE s.t")
        found = comparer.compare("s", "t")
    assert (found.after, counts(found)) == (comparer.after, (1, 1, 0))
    with pytest.raises(RefNotFound, match="nowhere"):
        Comparer(embedded.lake, before="main", after="nowhere")


def test_the_same_content_is_not_read(tmp_path: Path) -> None:
    settings = LakeSettings(warehouse=f"file://{tmp_path}", catalog=f"sqlite:///{tmp_path}/catalog.sqlite")
    lake = EmbeddedLake.open(settings)
    two = Two(lake)
    two.split(values("(1, 'x')"), values("(1, 'x')"))
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    found = two.compare("id")
    assert (found.change, found.rows_before, found.rows_after) == ("same", 1, 1)
    assert (found.rows, found.notes) == (Rows(key=("id",)), ())
    # What is not the same is read.
    two.split(values("(1, 'x')"), values("(1, 'y')"))
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    torn = two.compare("id")
    assert (torn.change, torn.rows) == ("unknown", None)
    assert torn.notes[0].startswith("its rows could not be compared: ")
    lake.close()


def test_missing_on_a_side(two: Two) -> None:
    two.split(None, values("(1, 'x')"))
    new = two.compare("id")
    assert (new.change, new.kind_before, new.kind_after, new.rows_before, new.rows_after) == (
        "added",
        None,
        "table",
        None,
        1,
    )
    two.split(values("(1, 'x')"), None)
    gone = two.compare()
    assert (gone.change, gone.rows_before, gone.rows_after, gone.rows) == ("removed", 1, None, None)
    two.split(None, None)
    none = two.compare()
    assert (none.change, none.rows_before, none.rows_after, none.notes) == ("same", None, None, ())


def test_columns_added_removed_retyped_and_moved(two: Two) -> None:
    two.split("SELECT 1 AS id, 'x' AS gone, 2 AS a, 3 AS b", "SELECT 1 AS id, 3 AS b, 2::BIGINT AS a, 'n' AS fresh")
    found = two.compare("id")
    assert [(c.name, c.change, c.before, c.after) for c in found.columns] == [
        ("gone", "removed", "VARCHAR", None),
        ("a", "retyped", "INTEGER", "BIGINT"),
        ("fresh", "added", None, "VARCHAR"),
    ]
    # What both have holds the same.
    assert (found.reordered, found.change, counts(found)) == (True, "changed", (0, 0, 0))
    assert counts(two.compare()) == (0, 0, 0)
    two.split("SELECT 1 AS id, 2 AS a", "SELECT 2 AS a, 1 AS id")
    moved = two.compare("id")
    assert (moved.columns, moved.reordered, moved.change, counts(moved)) == ((), True, "changed", (0, 0, 0))


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("1.5::DOUBLE", "1::INTEGER", 1),
        ("1::INTEGER", "1.0::DOUBLE", 0),
        ("1::INTEGER", "'1'::VARCHAR", 0),
        ("'one'::VARCHAR", "1::INTEGER", 1),
        ("DATE '2020-01-01'", "TIMESTAMP '2020-01-01 00:00'", 0),
        ("DATE '2020-01-01'", "7", 1),
        ("{'x': 1}", "{'x': 1, 'y': 2}", 1),
        ("[1, 2]", "[1, 2]::BIGINT[]", 0),
        ("1.10::DECIMAL(5, 2)", "1.1::DECIMAL(9, 3)", 0),
        ("true", "'true'", 0),
    ],
)
def test_retyped_columns_are_compared_where_they_can_be(embedded: Two, before: str, after: str, changed: int) -> None:
    embedded.split(f"SELECT 1 AS id, {before} AS a", f"SELECT 1 AS id, {after} AS a")
    found = embedded.compare("id", samples=2)
    assert ([column.change for column in found.columns], counts(found)) == (["retyped"], (0, 0, changed))
    assert counts(embedded.compare(samples=2)) == (changed, changed, 0)
    # As a key, too.
    assert counts(embedded.compare("a", samples=2)) == (changed, changed, 0)


def test_keys_that_occur_twice(two: Two) -> None:
    two.split(values("(1, 'x')", "(1, 'y')", "(2, 'z')"), values("(1, 'x')", "(2, 'Z')"))
    found = two.compare("id")
    assert counts(found) == (1, 2, 0)
    assert found.rows is not None
    assert found.rows.key == ()
    assert found.notes == ("key (id) occurs more than once in rows before, so that rows were compared as a whole",)
    # More columns make a key of it.
    assert counts(two.compare("id", "a")) == (1, 2, 0)
    assert two.compare("id", "a").notes == ()


def test_keys_that_are_null(two: Two) -> None:
    two.split(values("(NULL, 'x')", "(1, 'y')"), values("(NULL, 'X')", "(1, 'y')"))
    assert counts(two.compare("id")) == (0, 0, 1)
    two.split(values("(NULL, 'x')", "(NULL, 'y')"), values("(NULL, 'x')", "(NULL, 'z')"))
    found = two.compare("id")
    assert (counts(found), found.notes[0]) == (
        (1, 1, 0),
        "key (id) occurs more than once in rows before and after, so that rows were compared as a whole",
    )
    two.split(
        values("(1, NULL, 'x')", "(1, 2, 'y')", names="i, j, a"),
        values("(1, NULL, 'x')", "(1, 3, 'y')", names="i, j, a"),
    )
    assert counts(two.compare("i", "j")) == (1, 1, 0)


def test_a_key_that_is_not_there(embedded: Two) -> None:
    embedded.split(values("(1, 'x')"), values("(1, 'y')", names="other, a"))
    found = embedded.compare("id")
    assert found.notes == ("key column 'id' is not on both sides, so that rows were compared as a whole",)
    assert counts(found) == (1, 1, 0)
    embedded.split(values("(1, 'x')"), values("(1, 'y')"))
    assert counts(embedded.compare("ID")) == (0, 0, 1)


def test_nested_values(two: Two) -> None:
    def row(number: int, inner: str) -> str:
        return (
            f"SELECT {number} AS id, {{'p': [{{'q': {inner}}}]}} AS s, [1, {inner}] AS l, MAP {{'k': {inner}}} AS m "
            f"UNION ALL SELECT 9, {{'p': NULL}}, NULL, MAP {{}}"
        )

    two.split(row(1, "1"), row(1, "2"))
    found = two.compare("id", samples=1)
    assert counts(found) == (0, 0, 1)
    assert found.rows is not None
    assert found.rows.columns == (("s", 1), ("l", 1), ("m", 1))
    assert found.rows.samples[0].after == {"id": 1, "s": {"p": [{"q": 2}]}, "l": [1, 2], "m": {"k": 2}}
    assert counts(two.compare(samples=1)) == (1, 1, 0)
    # A nested value as key.
    assert counts(two.compare("s", samples=1)) == (1, 1, 0)
    two.split(row(1, "1"), row(1, "1") + " ORDER BY ALL")
    assert two.compare("s").change == "same"
    assert two.compare().change == "same"


def test_numbers_that_are_none(two: Two) -> None:
    before = values("(1, 'nan'::DOUBLE)", "(2, 'inf'::DOUBLE)", "(3, 0.0::DOUBLE)", "(4, NULL)")
    after = values("(1, 'nan'::DOUBLE)", "(2, 'inf'::DOUBLE)", "(3, -0.0::DOUBLE)", "(4, NULL)")
    two.split(before, after)
    assert counts(two.compare("id")) == (0, 0, 0)
    assert counts(two.compare()) == (0, 0, 0)
    two.split(before, values("(1, NULL)", "(2, '-inf'::DOUBLE)", "(3, 0.0::DOUBLE)", "(4, 'nan'::DOUBLE)"))
    found = two.compare("id", samples=5)
    assert counts(found) == (0, 0, 3)
    assert found.rows is not None
    samples = found.rows.samples
    assert samples[0].before is not None
    assert math.isnan(samples[0].before["a"])
    assert counts(two.compare()) == (3, 3, 0)


STRANGE = ("Mixed Case", "a.b", 'quo"te', "b", "a0", "here", "select", "ünï", "k0", "more", "side", "d")


def test_columns_of_strange_names(two: Two) -> None:
    def row(first: int, rest: int) -> str:
        columns = [f'{first} AS "ID"', *(f"{rest} AS {quoted(name)}" for name in STRANGE)]
        return f"SELECT {', '.join(columns)}"

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    two.split(row(1, 2) + " UNION ALL " + row(7, 7), row(1, 3) + " UNION ALL " + row(7, 7))
    found = two.compare("id", samples=1)
    assert counts(found) == (0, 0, 1)
    assert found.rows is not None
    assert [name for name, _ in found.rows.columns] == list(STRANGE)
    assert found.rows.samples[0].columns == STRANGE
    assert found.rows.samples[0].before == {"ID": 1, **dict.fromkeys(STRANGE, 2)}
    assert counts(two.compare('quo"te', "A.B", samples=1)) == (1, 1, 0)
    assert counts(two.compare(samples=1)) == (1, 1, 0)


@pytest.mark.parametrize("name", ["Mixed Case", "a.b", "select", "b", "one", "sides"])
def test_relations_of_strange_names(two: Two, name: str) -> None:
    two.split(values("(1, 'x')"), values("(1, 'y')"), name=name)
    found = two.compare("id", name=name, samples=1)
    assert (found.name, counts(found)) == (name, (0, 0, 1))
    assert counts(two.compare(name=name.upper(), samples=1)) == (1, 1, 0)


def test_a_column_in_another_case_is_the_same(embedded: Two) -> None:
    embedded.split('SELECT 1 AS "Id", 2 AS "A"', 'SELECT 1 AS "iD", 3 AS "a"')
    found = embedded.compare("ID", samples=1)
    assert (found.columns, found.reordered, counts(found)) == ((), False, (0, 0, 1))
    assert found.rows is not None
    assert (found.rows.key, found.rows.columns) == (("iD",), (("a", 1),))
    assert found.rows.samples[0].before == {"Id": 1, "A": 2}


def test_no_column_in_common(two: Two) -> None:
    two.split("SELECT 1 AS a, 2 AS b", "SELECT 3 AS c FROM range(2)")
    found = two.compare("a", samples=1)
    assert [(c.name, c.change) for c in found.columns] == [("a", "removed"), ("b", "removed"), ("c", "added")]
    assert (found.change, found.rows, found.rows_before, found.rows_after) == ("changed", None, 1, 2)
    assert found.notes == ("the two have no column in common, so that no rows can be compared",)


def test_all_columns_are_the_key(two: Two) -> None:
    two.split(values("(1, 'x')", "(2, 'y')"), values("(1, 'x')", "(2, 'z')"))
    found = two.compare("id", "a", samples=2)
    assert counts(found) == (1, 1, 0)
    assert found.rows is not None
    assert [row.change for row in found.rows.samples] == ["removed", "added"]


def test_empty_tables(two: Two) -> None:
    nothing = "SELECT 1 AS id, 'x' AS a WHERE false"
    two.split(nothing, nothing + " AND 1 = 1")
    assert (two.compare("id").change, two.compare("id").rows_after) == ("same", 0)
    assert two.compare().change == "same"
    two.split(nothing, values("(1, 'x')"))
    assert (counts(two.compare("id", samples=1)), counts(two.compare(samples=1))) == ((1, 0, 0), (1, 0, 0))
    two.split(values("(1, 'x')"), nothing)
    assert (counts(two.compare("id", samples=1)), counts(two.compare(samples=1))) == ((0, 1, 0), (0, 1, 0))


def test_more_rows_than_are_compared(two: Two) -> None:
    two.split("SELECT range AS id FROM range(10)", "SELECT range + 1 AS id, 1 AS a FROM range(11)")
    found = two.compare("id", max_rows=10)
    assert (found.rows, found.rows_before, found.rows_after, found.change) == (None, 10, 11, "changed")
    assert found.notes == ("11 rows are more than 10; they were counted, not compared",)
    assert [column.name for column in found.columns] == ["a"]
    assert counts(two.compare("id", max_rows=11)) == (2, 1, 0)
    two.split("SELECT range AS id FROM range(10)", "SELECT range + 1 AS id FROM range(10)")
    assert two.compare(max_rows=9).change == "unknown"
    # What is known to be the same is known at any size.
    two.split("SELECT range AS id FROM range(10)", "SELECT range AS id FROM range(10)")
    assert two.compare(max_rows=9).change == "same"


def test_views(two: Two) -> None:
    two.split(values("(1, 'x')", "(2, 'y')"), values("(1, 'x')", "(2, 'y')"), name="base")
    for branch in ("main", "dev"):
        two.write(branch, "CREATE OR REPLACE VIEW s.v AS SELECT id, a FROM s.base")
    same = two.compare("id", name="v")
    assert (same.change, same.kind_before, same.rows_before, same.rows) == ("same", "view", 2, Rows(key=("id",)))
    two.write("dev", "UPDATE s.base SET a = 'Y' WHERE id = 2")
    assert counts(two.compare("id", name="v")) == (0, 0, 1)
    two.write("dev", "CREATE OR REPLACE VIEW s.v AS SELECT id, a, 1 AS n FROM s.base WHERE id = 1")
    found = two.compare("id", name="v", samples=1)
    assert ([column.name for column in found.columns], counts(found)) == (["n"], (0, 1, 0))
    two.write("dev", "DROP VIEW s.v", "CREATE TABLE s.v AS SELECT * FROM s.base")
    assert (two.compare("id", name="v").kind_before, two.compare("id", name="v").kind_after) == ("view", "table")
    assert (two.compare("id", name="v").change, counts(two.compare("id", name="v"))) == ("changed", (0, 0, 1))
    two.write("dev", "DROP TABLE s.v")


def test_views_over_views_over_what_changed(embedded: Two) -> None:
    embedded.split(values("(1, 'x')"), values("(1, 'x')"), name="ground")
    for branch in ("main", "dev"):
        embedded.write(
            branch,
            "CREATE OR REPLACE VIEW s.middle AS SELECT * FROM s.ground",
            "CREATE OR REPLACE VIEW s.top AS SELECT * FROM s.middle",
        )
    assert embedded.compare(name="top").change == "same"
    embedded.write("dev", "UPDATE s.ground SET a = 'y'")
    assert counts(embedded.compare("id", name="top")) == (0, 0, 1)
    embedded.write("dev", "UPDATE s.ground SET a = 'x'")
    embedded.write("dev", "CREATE OR REPLACE VIEW s.middle AS SELECT id, 'other' AS a FROM s.ground")
    assert counts(embedded.compare("id", name="top")) == (0, 0, 1)


def test_a_view_that_cannot_be_read(two: Two) -> None:
    two.split(values("(1, 'x')"), values("(1, 'x')"), name="ground")
    for branch in ("main", "dev"):
        two.write(branch, "CREATE OR REPLACE VIEW s.torn AS SELECT id, a FROM s.ground")
    two.write("dev", "DROP TABLE s.ground")
    found = two.compare(name="torn")
    assert (found.change, found.rows) == ("unknown", None)
    assert found.notes[0].startswith("its rows could not be compared: ")
    assert "ground" in found.notes[0]
