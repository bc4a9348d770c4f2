"""Batches of microbatch models: computed side by side on several workers, joined in one commit.

A batch's rows are staged (see ``tables.staging``) without the table's lock, and wait here. Whoever holds the lock next joins
all that wait for the table. A batch of which dbt said that others follow does not wait to be joined: the last one joins it,
or else whatever reads or changes the table first, or the end of the run. What cannot be joined by then is kept with the
run's record, so that the run which continues it has the rows that dbt was told are there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.model import Key, TableEntry
from dbt.adapters.lakehouse.errors import HeadMoved, LakehouseError, NotInLake, SchemaMismatch
from dbt.adapters.lakehouse.jobs.job import Input, Join, Stage
from dbt.adapters.lakehouse.run import batch_results, recipe
from dbt.adapters.lakehouse.run.batch_results import Known
from dbt.adapters.lakehouse.run.values import Build, Built, Name
from dbt.adapters.lakehouse.tables.values import Column, Constraints, Staged, TimeRange, Written

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.lifecycle import LakeRun
    from dbt.adapters.lakehouse.run.session import RunSession

_ATTEMPTS = 5
_UNJOINED = "unjoined"

MOST_REMEMBERED = 100
"""So many batches wait at most where what waits is written down with each of them (in a service's store)."""


@dataclass(kw_only=True, eq=False)
class Waiting:
    """A staged batch. ``deferred``: nobody waits for it; else ``built`` or ``error`` says what came of it.

    ``columns`` are those of the table that it was staged for.
    """

    name: Name
    staged: Staged
    node: str | None
    deferred: bool
    inputs: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    build: Build | None = None
    known: Known | None = None
    built: Built | None = None
    error: Exception | None = None

    @cached_property
    def text(self) -> str:
        """As JSON, for another process."""
        return json.dumps(
            {
                "name": dataclasses.asdict(self.name),
                "node": self.node,
                "inputs": dict(self.inputs),
                "staged": _codecs()[0](self.staged),
            }
        )


class Batches:
    """What a run has staged and not joined yet, by table."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Key, dict[Hashable, Waiting]] = {}
        self._joining: list[Waiting] = []

    def put(self, key: Key, waiting: Iterable[Waiting]) -> None:
        """Let batches wait. One that nobody waits for gives way to a later one of the same time: it was asked for again."""
        with self._lock:
            found = self._waiting.setdefault(key, {})
            for item in waiting:
                place: Hashable = item.staged.range if item.deferred else id(item)
                found.pop(place, None)
                found[place] = item

    def take(self, key: Key) -> list[Waiting]:
        """All that wait for a table; they wait no longer, and are remembered until ``done``."""
        with self._lock:
            found = list(self._waiting.pop(key, {}).values())
            self._joining.extend(found)
            return found

    def done(self, waiting: Sequence[Waiting]) -> None:
        """What was taken is in the table, or waits again."""
        with self._lock:
            joined = set(map(id, waiting))
            self._joining = [item for item in self._joining if id(item) not in joined]

    def count(self, key: Key) -> int:
        """How many batches wait for a table."""
        with self._lock:
            return len(self._waiting.get(key, ()))

    def overlap(self, key: Key, time: TimeRange) -> bool:
        """Whether a batch waits whose time has to do with this one."""
        with self._lock:
            return any(batch_results.overlap(time, item.staged.range) for item in self._waiting.get(key, {}).values())

    def keys(self) -> list[Key]:
        """The tables that batches wait for."""
        with self._lock:
            return list(self._waiting)

    def into(self, nodes: Mapping[str, Any] | None) -> dict[str, Any]:
        """The run's account of its nodes, with what still waits."""
        # Only what was staged here may be joined later, whatever the account says that came from a client.
        kept: dict[str, Any] = {name: _without_unjoined(said) for name, said in (nodes or {}).items()}
        with self._lock:
            for key, waiting in self._waiting.items():
                for name in {item.node or str(key) for item in waiting.values()}:
                    unjoined = [item.text for item in waiting.values() if (item.node or str(key)) == name]
                    kept[name] = {**(kept.get(name) or {}), _UNJOINED: unjoined}
        return kept

    def adopt(self, nodes: Mapping[str, Any]) -> None:
        """Let wait what a run that is continued could not join."""
        for said in nodes.values():
            self.recall(said.get(_UNJOINED, ()) if isinstance(said, Mapping) else ())

    def memory(self) -> tuple[str, ...]:
        """What nobody waits for and is not known to be in a table, as ``recall`` takes it."""
        with self._lock:
            every = [*self._joining, *(item for waiting in self._waiting.values() for item in waiting.values())]
        return tuple({id(item): item.text for item in every if item.deferred}.values())

    def recall(self, texts: Iterable[str]) -> None:
        """Let wait what another process staged. What it joined right before it ended is joined again, to the same effect."""
        for text in texts:
            item = _from_json(text)
            self.put(Key(item.name.schema, item.name.name), [item])


def _without_unjoined(said: Any) -> Any:
    return {name: value for name, value in said.items() if name != _UNJOINED} if isinstance(said, Mapping) else said


def build(session: RunSession, run: LakeRun, build: Build, watch: Any) -> Built | None:
    """Stage a batch, and join it unless a later one will. None if it must be made by other means.

    Whatever becomes of the last batch, those before it are joined. One that the table has already is not staged.
    """
    assert build.batch is not None
    if build.mode != "merge":
        return None
    built = _build(session, run, build, watch)
    if built is not None and build.batch.number == build.batch.of:
        batch_results.keep(session, run, build)
    return built


def _build(session: RunSession, run: LakeRun, build: Build, watch: Any) -> Built | None:
    assert build.batch is not None
    key = Key(build.name.schema, build.name.name)
    last = 0 < build.batch.of == build.batch.number
    run.own()
    known = batch_results.mark_of(session, run, build)
    # What waits and is of the same time would come after it, though it was asked for before.
    clear = known is not None and not run.batches.overlap(key, build.batch.range)
    found = batch_results.find(session, run, build, known) if known is not None and clear else None
    if found is not None:
        if last:
            settle(session, run, key)
        return found
    started = time.perf_counter()
    try:
        waiting = _stage(session, run, build, watch)
    except BaseException:
        if last:
            # The batch's own error is the one to tell; what cannot be joined goes on waiting.
            with contextlib.suppress(LakehouseError):
                settle(session, run, key)
        raise
    if waiting is None:
        return None
    if known is not None:
        waiting.known = dataclasses.replace(known, seconds=time.perf_counter() - started)
    with run.lock_for(key):
        table = session.state.own.get(key)
        if not isinstance(table, TableEntry) or table.columns != waiting.columns:
            # Another batch brought columns meanwhile, and joined what waited then; these rows lack them.
            return None
        run.batches.put(key, [waiting])
    if waiting.deferred:
        current = session.state.own.get(key)
        assert current is not None
        return Built(entry=current, rows_written=waiting.staged.rows)
    with contextlib.suppress(Exception), run.lock_for(key):
        settle(session, run, key)
    if isinstance(waiting.error, SchemaMismatch) and waiting.built is None:
        # Its statements will say so again, or do it on the table as it is now.
        return None
    if waiting.error is not None:
        raise waiting.error
    assert waiting.built is not None
    return waiting.built


def _stage(session: RunSession, run: LakeRun, build: Build, watch: Any) -> Waiting | None:
    assert build.batch is not None
    assert build.sql is not None
    run.own()
    inputs = session.inputs(*build.setup, build.sql, *build.constraints.reads)
    key = Key(build.name.schema, build.name.name)
    table = session.state.own.get(key)
    if not isinstance(table, TableEntry):
        raise NotInLake(f"{build.name} is not a table; only create can make it")
    run.begin()
    action = Stage(
        base=table.metadata_location,
        range=build.batch.range,
        sql=build.sql,
        on_schema_change=build.on_schema_change,
        constraints=build.constraints,
    )
    known = session.beneath_its_rows(build.node, session.planner.keys(inputs))
    staged = session.prepared(action, inputs, build, watch).staged
    if staged is None:
        return None
    # Where uniqueness is checked, or everybody sees the table at once, a batch must hear what became of it.
    alone = run.live or bool(build.constraints.unique or build.constraints.primary_key)
    many = run.remembered_elsewhere and run.batches.count(key) >= MOST_REMEMBERED - 1
    return Waiting(
        name=build.name,
        staged=staged,
        node=build.node,
        deferred=not (alone or many) and 0 < build.batch.number < build.batch.of,
        inputs=known,
        columns=table.columns,
        build=build,
    )


def begin(session: RunSession, run: LakeRun, build: Build, entry: TableEntry, seconds: float) -> None:
    """A batch was made by other means: its rows were all of a new table, or its statements ran."""
    key = Key(build.name.schema, build.name.name)
    known = batch_results.mark_of(session, run, build)
    batches = [dataclasses.replace(known, seconds=seconds)] if known is not None else []
    run.present.add(key, batches, None, entry)
    if build.batch is not None and build.batch.number == build.batch.of:
        batch_results.keep(session, run, build)


def settle_inputs(session: RunSession, run: LakeRun, inputs: Iterable[Input]) -> bool:
    """Join what waits for the tables among these inputs; whether there was any."""
    waiting = set(run.batches.keys())
    if not waiting:
        return False
    found = [
        key
        for item in inputs
        if session.state.is_own(item.database) and (key := Key(item.schema, item.name)) in waiting
    ]
    for key in found:
        settle(session, run, key)
    return bool(found)


def settle(session: RunSession, run: LakeRun, key: Key) -> None:
    """Join all that waits for a table. Raises if batches that nobody waits for cannot be joined; they go on waiting."""
    with run.lock_for(key):
        waiting = run.batches.take(key)
        if not waiting:
            return
        try:
            for group in _groups(waiting):
                _join(session, run, key, group)
        except Exception as error:
            _failed(session, run, key, waiting, error)
        finally:
            run.batches.done(waiting)


def _groups(waiting: list[Waiting]) -> list[list[Waiting]]:
    """All at once; or, if times overlap (batches of another size, of a run that is continued), one after the other."""
    from dbt.adapters.lakehouse.tables.staging import instant

    ranges = sorted((instant(item.staged.range.start), instant(item.staged.range.end)) for item in waiting)
    overlap = any(one[1] > other[0] for one, other in itertools.pairwise(ranges))
    return [[item] for item in waiting] if overlap else [waiting]


def _failed(session: RunSession, run: LakeRun, key: Key, waiting: Sequence[Waiting], error: Exception) -> None:
    """Give everybody who waits an outcome of their own."""
    deferred = [item for item in waiting if item.deferred]
    others = [item for item in waiting if not item.deferred]
    run.batches.put(key, deferred)
    for item in others:
        item.error = error
        # One that breaks a constraint must not stop those that came along with it.
        if not deferred and len(others) > 1:
            try:
                _join(session, run, key, [item])
            except Exception as own:
                item.error = own
    if deferred:
        raise error


def _join(session: RunSession, run: LakeRun, key: Key, waiting: Sequence[Waiting]) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _join_once(session, run, key, waiting)
        except HeadMoved:
            # Staged rows were not computed from the table: they can be joined to what stands there now.
            if attempt == _ATTEMPTS or not run.live:
                raise
    raise AssertionError("unreachable")


def _join_once(session: RunSession, run: LakeRun, key: Key, waiting: Sequence[Waiting]) -> None:
    run.own()
    # Imported late: sessions use this module.
    from dbt.adapters.lakehouse.run.session import table_entry

    started = time.perf_counter()
    table = session.state.own.get(key)
    if not isinstance(table, TableEntry):
        raise NotInLake(f"{waiting[0].name} is no longer a table, so that batches cannot be joined to it; run again")
    seen = {key: session.state.own.content(key)}
    builds = [item.build for item in waiting if item.build is not None]
    constraints = builds[0].constraints if builds else Constraints(table=str(key))
    action = Join(base=table.metadata_location, staged=tuple(item.staged for item in waiting), constraints=constraints)
    written = session.submit(action, build=builds[0] if builds else None).written
    assert written is not None
    known = {name: content for item in waiting for name, content in item.inputs.items()}
    entry = table_entry(waiting[0].name, written, node=waiting[0].node, inputs=known, content=written.content)
    run.commit([(key, entry)], _message(key, waiting), _provenance(waiting, known, written, started), seen=seen)
    run.present.add(key, [item.known for item in waiting if item.known is not None], table, entry)
    for item in waiting:
        item.error = None
        item.built = Built(entry=entry, rows_written=item.staged.rows)
    if len(waiting) == 1:
        waiting[0].built = Built(entry=entry, rows_written=written.rows_written, rows_deleted=written.rows_deleted)


def _message(key: Key, waiting: Sequence[Waiting]) -> str:
    return f"Build {key}" if len(waiting) == 1 else f"Build {key} ({len(waiting)} batches)"


def _provenance(
    waiting: Sequence[Waiting], known: Mapping[str, str], written: Written, started: float
) -> dict[str, Any]:
    builds = [item.build for item in waiting if item.build is not None]
    return {
        **(builds[-1].provenance if builds else {}),
        "node": waiting[0].node,
        "mode": "batches",
        "sql": builds[-1].sql if builds else None,
        "inputs": known,
        # Of batches that another process staged, nobody knows the code.
        **({"recipes": recipe.packed(builds)} if len(builds) == len(waiting) else {}),
        "batches": len(waiting),
        "ranges": [[r.start, r.end] for r in merged_ranges(item.staged.range for item in waiting)],
        "rows_written": written.rows_written,
        "rows_deleted": written.rows_deleted,
        "seconds": round(time.perf_counter() - started, 6),
    }


def merged_ranges(ranges: Iterable[TimeRange]) -> list[TimeRange]:
    """See ``tables.staging.merged``."""
    from dbt.adapters.lakehouse.tables import staging

    return staging.merged(ranges)


def unjoined_files(nodes: Mapping[str, Any]) -> Iterator[str]:
    """Files of batches that a run could not join, which the run that continues it will (``adopt``)."""
    for said in nodes.values():
        for text in said.get(_UNJOINED, ()) if isinstance(said, Mapping) else ():
            yield from (file.path for file in _from_json(text).staged.files)


def _from_json(text: str) -> Waiting:
    said = json.loads(text)
    return Waiting(
        name=Name(**said["name"]),
        staged=_codecs()[1](said["staged"]),
        node=said["node"],
        deferred=True,
        inputs=said["inputs"],
    )


@functools.cache
def _codecs() -> tuple[Any, Any]:
    # Imported late: only services and runs that failed to join have need of it.
    from mashumaro.codecs.json import JSONDecoder, JSONEncoder

    return JSONEncoder(Staged).encode, JSONDecoder(Staged).decode
