"""Random runs and random ways back: nothing that goes back unsaid leaves a table on something that is gone.

What is stale after a revert was stale before it, or in the state that it went back to. The catalog is a real one; tables are
entries without files, since going back never looks into files.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.catalog.model import (
    Key,
    Put,
    RefKind,
    RunRecord,
    RunStatus,
    TableEntry,
    ViewEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.run import reverting, rewriting
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.tables.values import Column

SOURCE, TABLES = "t0", ("t1", "t2", "t3", "t4")
NAMES = (SOURCE, *TABLES)

runs = st.tuples(
    st.just("run"),
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.dictionaries(st.sampled_from(TABLES), st.sets(st.integers(0, 3), min_size=1, max_size=2)),
    st.integers(0, 2),
)
going = st.tuples(
    st.sampled_from(["revert commit", "revert table", "reset"]),
    st.integers(0, 6),
    st.sampled_from(NAMES),
    st.sampled_from(["refuse", "with_dependants", "knowingly"]),
)
steps = st.lists(st.one_of(runs, going), min_size=2, max_size=8)


class Model:
    """A lake in which table ``t<n>`` reads tables of lower numbers; what is in a table follows from its code and inputs."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self.catalog = catalog
        self.reads: dict[str, set[int]] = {name: {0} for name in TABLES}
        self.runs = 0

    def stale(self, ref: str) -> set[tuple[Key, Key]]:
        """Pairs of an entry and an input that is another one, worked out anew and naively."""
        entries = self.catalog.entries(self.catalog.resolve(ref).id)
        pairs = set()
        for key, entry in entries.items():
            if not isinstance(entry, TableEntry):
                continue
            for name, content in entry.inputs.items():
                was = self.catalog.contents([content])[content]
                now = entries.get(Key(*name.split(".")))
                assert isinstance(was, TableEntry | ViewEntry)
                if not isinstance(now, TableEntry) or getattr(was, "content", None) != now.content:
                    pairs.add((key, Key(*name.split("."))))
        return pairs

    def run(self, built: set[str], reads: dict[str, set[int]], code: int) -> None:
        """Build some tables, parents first, on a run branch, and publish."""
        self.runs += 1
        run = f"{self.runs:04}-run"
        head = self.catalog.resolve("main").id
        now = datetime.now(UTC)
        record = RunRecord(
            id=run,
            branch=f"run/{run}",
            target="main",
            base=head,
            command="dbt build",
            status=RunStatus.OPEN,
            owner="host:1:1",
            started_at=now,
            heartbeat_at=now,
        )
        self.catalog.save_run(record)
        self.catalog.create_ref(record.branch, RefKind.BRANCH, head, run=run)
        for name, numbers in reads.items():
            self.reads[name] = {min(number, int(name[1:]) - 1) for number in numbers}
        for name in sorted(built):
            self._build(record, name, code)
        self.catalog.merge(record.branch, "main", author="ann", message=f"Publish {run}", run=run)
        self.catalog.delete_ref(record.branch, expected=self.catalog.resolve(record.branch).id)

    def _build(self, record: RunRecord, name: str, code: int) -> None:
        entries = self.catalog.entries(self.catalog.resolve(record.branch).id)
        inputs = {}
        for number in sorted(self.reads.get(name, ())):
            entry = entries.get(Key("s", f"t{number}"))
            if isinstance(entry, TableEntry):
                inputs[f"s.t{number}"] = entry
        text = f"{name} {code} {sorted((key, entry.content) for key, entry in inputs.items())}"
        content = hashlib.sha256(text.encode()).hexdigest()
        entry = TableEntry(
            schema="s",
            name=name,
            metadata_location=f"file:///lake/{name}/{record.id}.json",
            table_uuid=name,
            snapshot_id=self.runs,
            location=f"file:///lake/{name}",
            columns=(Column(name="a", type="BIGINT"),),
            rows=1,
            size_bytes=1,
            node=f"model.shop.{name}",
            inputs={key: content_id(one) for key, one in inputs.items()},
            content=content,
        )
        put = Put(key=Key("s", name), entry=entry, expected="*")
        self.catalog.commit(record.branch, [put], author="ann", message=f"Build {name}", run=record.id)

    def go(self, what: str, back: int, name: str, how: str) -> None:
        """One way back, and what must hold after it."""
        log = self.catalog.log(self.catalog.resolve("main").id)
        commit = log[min(back, len(log) - 1)]
        before, head = self.stale("main"), log[0].id
        if what == "reset":
            rewriting.reset(self.catalog, ResetRequest(branch="main", to=commit.id, author="ada"))
            assert self.catalog.diff(commit.id, self.catalog.resolve("main").id) == ()
            return
        said = {"with_dependants": how == "with_dependants", "knowingly": how == "knowingly"}
        if what == "revert commit":
            if not commit.parents:
                return
            then = commit.parents[0]
            request = RevertRequest(branch="main", author="ada", commit=commit.id, **said)
        else:
            then, key = commit.id, Key("s", name)
            if key not in self.catalog.entries(head) and key not in self.catalog.entries(then):
                return
            request = RevertRequest(branch="main", author="ada", tables=(key,), to=then, **said)
        result = reverting.revert(self.catalog, request)
        self._check(result, request, head, before | self.stale(then))

    def _check(self, result: Reverted, request: RevertRequest, head: str, known: set[tuple[Key, Key]]) -> None:
        if result.refused or result.commit is None:
            assert self.catalog.resolve("main").id == head
            return
        now = self.stale("main")
        if not request.knowingly:
            assert now <= known
        else:
            # Each of them was named, and is in the commit.
            named = {str(key) for key, _ in now - known}
            assert named <= {str(one.key) for one in result.dependants}
            assert named <= set(result.commit.provenance.get("knowingly", ()))
        assert {key for key, _ in now} == {one.key for one in reverting.stale(self.catalog, "main") if one.moved}
        assert all(ref.run is None for ref in self.catalog.refs())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, protected=st.booleans())
def test_nothing_is_left_on_something_that_is_gone(steps: list[tuple[object, ...]], protected: bool) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="lakehouse-reverting-") as folder,
        closing(SqlCatalog.open(f"sqlite:///{Path(folder)}/catalog.sqlite")) as catalog,
    ):
        catalog.protect("main", protected)
        model = Model(catalog)
        model.run(set(NAMES), {}, 0)
        for kind, *arguments in steps:
            if kind == "run":
                model.run(*arguments)  # type: ignore[arg-type]
            else:
                model.go(str(kind), *arguments)  # type: ignore[arg-type]
