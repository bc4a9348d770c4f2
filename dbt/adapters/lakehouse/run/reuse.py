"""Results that were made before: found by fingerprint, put in place, remembered; and nobody computes what somebody else does."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.base import ReuseIndex
from dbt.adapters.lakehouse.catalog.model import ReusableResult, TableEntry, identity
from dbt.adapters.lakehouse.errors import StorageError
from dbt.adapters.lakehouse.run import fingerprint
from dbt.adapters.lakehouse.run.fingerprint import Fingerprint
from dbt.adapters.lakehouse.run.liveness import is_dead
from dbt.adapters.lakehouse.run.materialized import view_of
from dbt.adapters.lakehouse.run.values import Build, Result, Reused
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables.values import Column, Written

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.lifecycle import LakeRun
    from dbt.adapters.lakehouse.run.session import RunSession

WAIT_SECONDS = 600.0
"""How long a run waits for another that computes what it needs, before it computes that itself."""

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


@dataclass(kw_only=True)
class Attempt:
    """A build that may have been made before.

    ``found`` is the result, if there is one; else it is to be computed, and ``made`` is told what came of it. ``mark`` is
    None where results are neither looked for nor kept. ``waited_for`` is the run that was computing it at first.
    """

    mark: Fingerprint | None = None
    found: ReusableResult | None = None
    made: TableEntry | None = None
    seconds: float = 0.0
    waited_for: str | None = None

    @property
    def why_not(self) -> tuple[str, ...]:
        """Why the result is not reusable."""
        return self.mark.obstacles if self.mark is not None else ()

    def entry(self, build: Build, inputs: Mapping[str, str], current: TableEntry | None) -> TableEntry:
        """The table that was found, as it stands under the build's name; ``current`` itself, if it stands there already."""
        assert self.found is not None
        assert self.found.entry is not None
        entry = dataclasses.replace(
            self.found.entry,
            schema=build.name.schema,
            name=build.name.name,
            node=build.node,
            inputs=inputs,
            view=view_of(build),
        )
        if current is not None:
            entry = _in_files_of(current, entry)
            # A table that starts from itself would otherwise stand on itself anew with each build.
            others = _without(entry.inputs, current), _without(current.inputs, current)
            if others[0] == others[1] and dataclasses.replace(entry, inputs=current.inputs) == current:
                return current
        return entry

    @property
    def reused(self) -> Reused | None:
        """Whose result was found."""
        if self.found is None:
            return None
        return Reused(run=self.found.run, author=self.found.author, seconds=self.found.seconds)


def _in_files_of(current: TableEntry, entry: TableEntry) -> TableEntry:
    """An entry in the files that stand there, if these hold the very same: they may have been compacted since."""
    same = entry.content is not None and (entry.content, entry.columns, entry.layout, entry.comment) == (
        current.content,
        current.columns,
        current.layout,
        current.comment,
    )
    if not same:
        return entry
    return dataclasses.replace(
        entry,
        metadata_location=current.metadata_location,
        table_uuid=current.table_uuid,
        snapshot_id=current.snapshot_id,
        location=current.location,
        size_bytes=current.size_bytes,
    )


def _without(inputs: Mapping[str, str], table: TableEntry) -> dict[str, str]:
    own = f"{table.schema}.{table.name}".lower()
    return {name: content for name, content in inputs.items() if name.lower() != own}


@contextlib.contextmanager
def attempt(session: RunSession, run: LakeRun, build: Build, table: TableEntry | None) -> Iterator[Attempt]:
    """Look for the result of a build. If there is none, the block computes it, and others wait for that meanwhile."""
    index = run.index
    if index is None or build.reuse == "never":
        yield Attempt()
        return
    mark = fingerprint.of_build(session, build, table)
    this = Attempt(mark=mark)
    if mark.obstacles:
        yield this
        return
    claimed = False
    if not build.rebuild:
        this.found = usable(index.recall(mark.id))
        # Who waited for what depends on the time could not take it.
        if this.found is None and not run.live and not mark.steady:
            claimed = _claim(session, run, index, this)
    try:
        yield this
        if this.made is not None and _is_known(session, build, mark, table, this.made):
            index.remember(_result(run, build, mark, this))
            claimed = False
    finally:
        if claimed:
            index.release(mark.id, run.request.id)


def _is_known(
    session: RunSession, build: Build, mark: Fingerprint, before: TableEntry | None, after: TableEntry
) -> bool:
    """Whether what was made is what its fingerprint says. Files that changed meanwhile may have been read as either."""
    stayed = before is not None and identity(before) == identity(after)
    return (stayed or not mark.steady) and fingerprint.files_are(session, build, mark)


def _claim(session: RunSession, run: LakeRun, index: ReuseIndex, this: Attempt) -> bool:
    """Wait while another living run computes the result; then it is found, or claimed, or (after long) neither."""
    assert this.mark is not None
    run.begin()
    deadline = time.monotonic() + WAIT_SECONDS
    pause, dead, waited = _FIRST_PAUSE, None, False
    while True:
        holder = index.claim(this.mark.id, run.request.id, instead_of=dead)
        if holder is None:
            # Who held it until now may have ended well between the last look and this one.
            this.found = usable(index.recall(this.mark.id)) if waited else None
            if this.found is not None:
                index.release(this.mark.id, run.request.id)
            return this.found is None
        record = run.catalog.run(holder)
        if record is not None and is_dead(record):
            dead = holder
            continue
        if time.monotonic() > deadline:
            return False
        waited, this.waited_for = True, holder
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        session.check_open()
        this.found = usable(index.recall(this.mark.id))
        if this.found is not None:
            return False


def usable(result: ReusableResult | None) -> ReusableResult | None:
    """A result whose table is still there."""
    if result is None or result.entry is None:
        return None
    try:
        there = storage_for(result.entry.metadata_location).exists(result.entry.metadata_location)
    except StorageError:
        return None
    return result if there else None


def _result(run: LakeRun, build: Build, mark: Fingerprint, this: Attempt) -> ReusableResult:
    return ReusableResult(
        fingerprint=mark.id,
        parts=mark.parts,
        node=build.node or str(build.name),
        entry=this.made,
        run=None if run.live else run.request.id,
        author=run.request.author,
        made_at=datetime.now(UTC),
        seconds=round(this.seconds, 6),
    )


def content_after(build: Build, before: TableEntry | None, written: Written) -> str | None:
    """The content identity of a table that a build wrote; None if nothing is known of it."""
    if build.mode != "create" and before is not None and is_unchanged(before, written):
        return identity(before)
    return written.content if build.content_identity else None


def content_of(before: TableEntry | None, written: Written) -> str | None:
    """The content identity of a table after a statement written by hand; ``before`` is None where it made the table."""
    return identity(before) if before is not None and is_unchanged(before, written) else written.content


def tested(session: RunSession, sql: str, node: str, query: Callable[[], Result]) -> Result:
    """The answer of a dbt test: from the index, if the same test passed on the same content, else that of ``query``."""
    run = session.run
    mark = fingerprint.of_query(session, sql) if run is not None and run.index is not None else None
    if run is None or run.index is None or mark is None or mark.obstacles:
        return query()
    known = run.index.recall(mark.id)
    if known is not None and known.entry is None:
        session.note_reads(sql)
        columns = tuple(Column(name=name, type=kind) for name, kind in known.answer["columns"])
        reused = Reused(run=known.run, author=known.author, seconds=known.seconds)
        return Result(columns=columns, rows=[tuple(row) for row in known.answer["rows"]], reused=reused)
    started = time.perf_counter()
    result = query()
    if _passed(result):
        run.index.remember(
            ReusableResult(
                fingerprint=mark.id,
                parts=mark.parts,
                node=node,
                entry=None,
                run=None if run.live else run.request.id,
                author=run.request.author,
                made_at=datetime.now(UTC),
                seconds=round(time.perf_counter() - started, 6),
                answer={
                    "columns": [(column.name, column.type) for column in result.columns],
                    # Of a unit test that passed, dbt compares what is left when equal rows are taken away.
                    "rows": [list(row) for row in result.rows] if _is_verdict(result) else [],
                    "sql": sql,
                },
            )
        )
    return result


def _passed(result: Result) -> bool:
    """Whether this may be the answer of a test of which dbt says neither fail nor warn."""
    return passes(result.rows[0], lenient=True) if _is_verdict(result) else _is_as_expected(result)


def passes(verdict: Sequence[Any], *, lenient: bool) -> bool:
    """Whether dbt lets a data test pass: of one of severity ``warn`` (``lenient``) it does not ask whether it is an error."""
    failures, warns, fails = verdict
    return isinstance(failures, int) and warns is False and (lenient or fails is False)


def _is_verdict(result: Result) -> bool:
    """Whether this is the one row that a data test gives."""
    names = [column.name.lower() for column in result.columns]
    return names == ["failures", "should_warn", "should_error"] and len(result.rows) == 1


def _is_as_expected(result: Result) -> bool:
    """Whether these are the rows of a unit test: those that its model gives are those that are expected."""
    places = [place for place, column in enumerate(result.columns) if column.name.lower() == "actual_or_expected"]
    if len(places) != 1:
        return False
    rows: dict[str, Counter[str]] = {"actual": Counter(), "expected": Counter()}
    for row in result.rows:
        kind = str(row[places[0]])
        if kind not in rows:
            return False
        rows[kind][repr([value for place, value in enumerate(row) if place != places[0]])] += 1
    return rows["actual"] == rows["expected"]


def is_unchanged(before: TableEntry, written: Written) -> bool:
    """Whether a write left columns and rows as they were."""
    columns = [(column.name, column.type) for column in before.columns]
    same = columns == [(column.name, column.type) for column in written.columns]
    return same and (
        written.snapshot_id == before.snapshot_id or (written.rows_written == 0 and written.rows_deleted == 0)
    )
