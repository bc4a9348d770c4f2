"""Random projects, edited and built again and again on two branches: with reuse, every table is as it is without.

The same edits and builds happen on two lakes, one of which never looks for earlier results. The order of rows within a table
is left to a query's ORDER BY; nothing here depends on it.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dbt.adapters.lakehouse.catalog.model import TableEntry
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.fingerprint import hashed
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, FileSource, Name, PythonSource, RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings

NODES = 5
SEEDS = ("raw0", "raw1")
BRANCHES = ("main", "dev")

QUERIES = (
    "SELECT id, v FROM {a}",
    "SELECT id, v + 1 AS v FROM {a}",
    "SELECT id, v FROM {a} WHERE true",
    "SELECT id, max(a.v + b.v) AS v FROM {a} AS a JOIN {b} AS b USING (id) GROUP BY id",
    "SELECT id, max(v) AS v FROM {a} GROUP BY id",
    "SELECT id, v FROM {a} UNION SELECT id, v FROM {b}",
    "SELECT id, scaled(v) AS v FROM {a}",
    "WITH q AS (SELECT id, v FROM {a} WHERE id % 2 = 0) SELECT id, v FROM q",
    "SELECT id, (SELECT count(*) FROM {b}) AS v FROM {a}",
    "SELECT * FROM {a}",
    "SELECT id, v::INTEGER AS v FROM {a}",
)
SCALED = next(number for number, query in enumerate(QUERIES) if "scaled" in query)
LAYOUTS = ("{}", "-- a remark\n{}", "  {}\n\n", "/* two */ {} -- lines")
MACROS = ("v * 2", "v * 3", " v*2 ", "v + v")
KINDS = ("table", "view", "append", "merge", "python")
CONFIGS: tuple[dict[str, Any], ...] = ({}, {"sort_by": ("id",)}, {"comment": "numbers"}, {"partition_by": ("id",)})
PYTHON = """
def model(dbt, session):
    return session.sql({query!r})

refs = {refs!r}

class dbtObj:
    def __init__(self, load_df_function) -> None:
        pass
"""

_numbers = itertools.count(1)
rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=5, unique_by=lambda row: row[0])


class Lake:
    """A lake of its own; with ``looks`` it looks for earlier results."""

    def __init__(self, looks: bool) -> None:
        self.looks = looks
        self.folder = Path(tempfile.mkdtemp(prefix="lakehouse-reuse-"))
        self.lake = EmbeddedLake.open(
            LakeSettings(
                warehouse=f"file://{self.folder}",
                catalog=f"sqlite:///{self.folder}/catalog.sqlite",
                memory_limit="500MB",
            )
        )
        self.reused = 0

    def close(self) -> None:
        self.lake.close()
        shutil.rmtree(self.folder)


class Reuse(RuleBasedStateMachine):
    """The project is one for both branches, as a working copy is; the branches have states of their own."""

    @initialize(
        kinds=st.lists(st.sampled_from(KINDS), min_size=NODES, max_size=NODES),
        queries=st.lists(st.integers(0, len(QUERIES) - 1), min_size=NODES, max_size=NODES),
        parents=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=NODES, max_size=NODES),
    )
    def begin(self, kinds: list[str], queries: list[int], parents: list[tuple[int, int]]) -> None:
        self.lakes = (Lake(True), Lake(False))
        self.kinds, self.queries, self.parents = list(kinds), list(queries), list(parents)
        self.kinds[0], self.queries[0] = "table", SCALED
        self.layouts, self.configs = [0] * NODES, [0] * NODES
        self.macro = 0
        self.seeds: dict[str, list[tuple[int, int]]] = {seed: [(1, 1), (2, 2)] for seed in SEEDS}
        self.branch = "main"
        self.built: set[str] = set()

    # edits

    @rule(node=st.integers(0, NODES - 1), query=st.integers(0, len(QUERIES) - 1))
    def edit_code(self, node: int, query: int) -> None:
        self.queries[node] = query
        self.build_all()

    @rule(node=st.integers(0, NODES - 1), layout=st.integers(0, len(LAYOUTS) - 1))
    def edit_layout(self, node: int, layout: int) -> None:
        self.layouts[node] = layout
        self.build_all()

    @rule(node=st.integers(0, NODES - 1), config=st.integers(0, len(CONFIGS) - 1))
    def edit_configuration(self, node: int, config: int) -> None:
        self.configs[node] = config
        self.build_all()

    @rule(node=st.integers(0, NODES - 1), parents=st.tuples(st.integers(0, 99), st.integers(0, 99)))
    def edit_parents(self, node: int, parents: tuple[int, int]) -> None:
        self.parents[node] = parents
        self.build_all()

    @rule(macro=st.integers(0, len(MACROS) - 1))
    def edit_macro(self, macro: int) -> None:
        self.macro = macro
        self.build_all()

    @rule(seed=st.sampled_from(SEEDS), data=rows)
    def edit_seed(self, seed: str, data: list[tuple[int, int]]) -> None:
        self.seeds[seed] = data
        self.build_all()

    @rule(branch=st.sampled_from(BRANCHES))
    def switch(self, branch: str) -> None:
        self.branch = branch
        self.build_all()

    # builds

    def build_all(self) -> None:
        """A run that passes."""
        self.build_some(True, set())

    @rule(passes=st.booleans(), selected=st.sets(st.integers(0, NODES - 1)))
    def build(self, passes: bool, selected: set[int]) -> None:
        """A run of the seeds and of some nodes (all, where none is named)."""
        self.build_some(passes, selected)

    def build_some(self, passes: bool, selected: set[int]) -> None:
        chosen = selected or set(range(NODES))
        if self.branch not in self.built or not passes:
            chosen = set(range(NODES))
        for lake in self.lakes:
            self._run(lake, sorted(chosen), passes)
        if passes:
            self.built.add(self.branch)

    @precondition(lambda self: self.branch in self.built)
    @rule(seed=st.sampled_from(SEEDS))
    def change_by_hand(self, seed: str) -> None:
        for lake in self.lakes:
            run = lake.lake.open_run(self._request())
            with closing(run.session()) as session:
                session.execute(f"UPDATE lake.s.{seed} SET v = v + 1 WHERE id < 2")
            run.publish()

    def _request(self) -> RunRequest:
        return RunRequest(id=f"{next(_numbers):06}-run", command="test", branch=self.branch, default_schema="s")

    def _run(self, lake: Lake, chosen: list[int], passes: bool) -> None:
        run = lake.lake.open_run(self._request())
        with closing(run.session()) as session:
            session.execute(f"CREATE OR REPLACE MACRO scaled(v) AS {MACROS[self.macro]}")
        with closing(run.session()) as session:
            for seed in SEEDS:
                self._seed(lake, session, seed)
            for node in chosen:
                self._node(lake, session, node)
        if passes:
            run.publish()
        else:
            run.fail("on purpose")

    def _seed(self, lake: Lake, session: RunSession, seed: str) -> None:
        values = ", ".join(str(row) for row in self.seeds[seed]) or "(0, 0)"
        sql = f"SELECT id::BIGINT AS id, v::BIGINT AS v FROM (VALUES {values}) AS t(id, v)"
        file = FileSource(digest=hashed(self.seeds[seed]), how="csv")
        self._build(lake, session, Build(name=_name(seed), sql=sql, file=file, node=f"seed.{seed}"))

    def _node(self, lake: Lake, session: RunSession, node: int) -> None:
        earlier = [*SEEDS, *(f"n{number}" for number in range(node))]
        a, b = (f"lake.s.{earlier[number % len(earlier)]}" for number in self.parents[node])
        query = QUERIES[self.queries[node]]
        sql = LAYOUTS[self.layouts[node]].format(query.format(a=a, b=b))
        name, kind = _name(f"n{node}"), self.kinds[node]
        more = {"node": f"model.n{node}", **CONFIGS[self.configs[node]]}
        there = isinstance(session.lookup(name), TableEntry)
        if kind == "view":
            session.create_view(name, sql, node=f"model.n{node}", rebuild=not lake.looks)
        elif kind == "python":
            # A macro of the session would be hidden in the text, and the test of SQL covers it.
            text = query.replace("scaled(v)", "v").format(a=a, b=b)
            code = PYTHON.format(query=text, refs={"a": a, "b": b})
            source = PythonSource(code=code, path="/nowhere/models/n.py", reads=(a, b))
            self._build(lake, session, Build(name=name, python=source, **more))
        elif kind == "append" and there:
            # One more row a build, so that the table's own state matters and yet no join of such tables grows large.
            new = f"SELECT 3::BIGINT AS id, (count(*) % 4)::BIGINT AS v FROM ({sql}\n) AS q"
            self._build(lake, session, Build(name=name, sql=new, mode="append", **more))
        elif kind == "merge" and there:
            self._build(lake, session, Build(name=name, sql=_bigint(sql), **more, **_merge(f"n{node}")))
        else:
            self._build(lake, session, Build(name=name, sql=_bigint(sql), **more))

    def _build(self, lake: Lake, session: RunSession, build: Build) -> None:
        built = session.build(dataclasses.replace(build, rebuild=not lake.looks))
        assert lake.looks or built.reused is None
        assert not built.why_not
        lake.reused += built.reused is not None

    # what must hold

    @invariant()
    def tables_are_the_same(self) -> None:
        for branch in sorted(getattr(self, "built", ())):
            with_reuse, without = (_tables(lake.lake, branch) for lake in self.lakes)
            assert with_reuse == without

    def teardown(self) -> None:
        for lake in getattr(self, "lakes", ()):
            lake.close()


def _name(table: str) -> Name:
    return Name(database="lake", schema="s", name=table)


def _bigint(sql: str) -> str:
    return f"SELECT id::BIGINT AS id, v::BIGINT AS v FROM ({sql}\n) AS q"


def _merge(table: str) -> dict[str, Any]:
    return {
        "mode": "merge",
        "source": "incoming",
        "statements": (
            f"DELETE FROM lake.s.{table} WHERE id IN (SELECT id FROM incoming)",
            f"INSERT INTO lake.s.{table} SELECT id, v FROM incoming",
        ),
        "matching": "t.id IN (SELECT id FROM incoming)",
    }


def _tables(lake: EmbeddedLake, branch: str) -> dict[str, Any]:
    with closing(lake.read(branch, "s")) as session:
        found: dict[str, Any] = {}
        for entry in session.relations("lake"):
            result = session.execute(f"SELECT * FROM lake.s.{entry.name}") if not _needs_macro(entry) else None
            columns = [(column.name, column.type) for column in entry.columns]  # type: ignore[union-attr]
            comment = getattr(entry, "comment", None)
            found[entry.name] = (columns, comment, sorted(result.rows, key=repr) if result else None)
        return found


def _needs_macro(entry: Any) -> bool:
    """Whether a view cannot be read outside of a run that makes the macro."""
    return "scaled" in getattr(entry, "sql", "") or not isinstance(entry, TableEntry)


def test_tables_are_the_same_with_reuse_as_without() -> None:
    checks = list(HealthCheck)
    config = settings(max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(Reuse, settings=config)  # type: ignore[no-untyped-call]
