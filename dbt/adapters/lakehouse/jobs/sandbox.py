"""The DuckDB in which a job's SQL runs where it must not be trusted (invariant 9).

It may open the exact files of the job's inputs (``allowed_paths``) and folders of its own, and nothing else: then external
access is switched off and the configuration locked. Both are for good, so that a job with other inputs gets another DuckDB,
into which the session's own things are taken along (``luggage``). What the settings do not stop, ``permitted`` does. What
the job writes is made in a folder of the DuckDB's own and put where it belongs by others (``tables.fresh``).

A DuckDB costs 10 ms. A session that left nothing behind leaves its own to the next one that needs the very same files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import duckdb

from dbt.adapters.lakehouse.errors import ConfigError, SandboxError
from dbt.adapters.lakehouse.jobs.engine import Engine
from dbt.adapters.lakehouse.jobs.function import Definition
from dbt.adapters.lakehouse.jobs.instance import Instance
from dbt.adapters.lakehouse.jobs.job import (
    Alter,
    Append,
    Bind,
    Compact,
    Create,
    Describe,
    Edit,
    Job,
    Join,
    Query,
    Stage,
)
from dbt.adapters.lakehouse.jobs.luggage import Luggage
from dbt.adapters.lakehouse.jobs.permitted import Rules, others, settings_in
from dbt.adapters.lakehouse.jobs.traces import leaves_nothing
from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Constraints

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.tables.metadata import LiveFile

ANYWHERE = "*"


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a DuckDB must be allowed for a job. ``outside`` are prefixes beyond the lake, or ANYWHERE."""

    home: tuple[str, str]
    reads: frozenset[str] = frozenset()
    outside: tuple[str, ...] = ()
    cpus: int | None = None
    memory: str | None = None
    settings: tuple[str, ...] = ()

    def covers(self, other: Needs, *, exactly: bool) -> bool:
        """Whether a DuckDB that was made for this will do for the other, too; ``exactly`` if it must open no more files."""
        if dataclasses.replace(other, reads=self.reads) != self:
            return False
        return other.reads == self.reads if exactly else other.reads <= self.reads


class Sandbox:
    """Makes the engines of one worker: another one whenever a job needs other files. A spare one is kept at hand."""

    def __init__(self, settings: LakeSettings) -> None:
        refuse_vague(settings.external_access)
        self._settings = settings
        first = Instance(settings)
        self._spare = _Spare(settings, first)
        self._rules = Rules(functions=_table_functions(first.connection))
        self._now: Needs | None = None
        self._clean = True
        self._inherited = False
        self._said: dict[str, str] = {}
        self._luggage = Luggage()
        self.entering: duckdb.DuckDBPyConnection | None = None
        """The connection that is being made, for whom wants to interrupt that."""

    def admit(
        self, job: Job, engine: Engine | None, cursor: duckdb.DuckDBPyConnection | None
    ) -> tuple[Engine, duckdb.DuckDBPyConnection] | None:
        """An engine that may open what the job needs, with a connection that has what the session had; None: the present one.

        Raises what refuses the job's settings, and leaves the session as it was.
        """
        said = {**self._said, **_settings_of(job)}
        needs = self._needs(job, tuple(said.values()))
        if self._now is not None and self._now.covers(needs, exactly=self._inherited):
            self._inherited = False
            return None
        if self._inherited:
            cursor = None
        instance = self._spare.take()
        try:
            fresh = self._open(instance, needs, engine, cursor)
        except BaseException:
            self._spare.discard(instance)
            raise
        finally:
            self.entering = None
        if engine is not None:
            self._spare.discard(engine.instance)
        self._now, self._said, self._inherited = needs, said, False
        self._spare.prepare(_LONG)
        return fresh

    def _open(
        self, instance: Instance, needs: Needs, engine: Engine | None, cursor: duckdb.DuckDBPyConnection | None
    ) -> tuple[Engine, duckdb.DuckDBPyConnection]:
        instance.limit(needs.cpus, needs.memory)
        fresh = Engine(self._settings, instance)
        connection = self.entering = fresh.cursor(*needs.home)
        for statement in needs.settings:
            # Nothing of a user's but this runs before the locks are on.
            if [found.type for found in connection.extract_statements(statement)] == [duckdb.StatementType.SET]:
                connection.execute(statement)
        packed: Path | None = None
        if engine is not None and cursor is not None:
            packed = self._luggage.pack(cursor, engine.instance.folder)
        self._lock(instance, needs, packed)
        self._luggage.unpack(connection, packed, needs.home)
        return fresh, connection

    def _lock(self, instance: Instance, needs: Needs, packed: Path | None) -> None:
        """One-way: from here on the instance opens these files and no others, and nobody changes its configuration."""
        execute = instance.connection.execute
        execute("SET python_enable_replacements = false")
        if ANYWHERE not in needs.outside:
            extra = [str(packed), f"{packed}.wal"] if packed is not None else []
            folders = [*needs.outside, *([instance.staging] if instance.staging is not None else [])]
            execute(f"SET allowed_paths = [{', '.join(map(literal, [*sorted(needs.reads), *extra]))}]")
            execute(f"SET allowed_directories = [{', '.join(map(literal, folders))}]")
            execute("SET enable_external_access = false")
        execute("SET lock_configuration = true")

    def _needs(self, job: Job, said: tuple[str, ...]) -> Needs:
        outside: tuple[str, ...] = ()
        if job.external_access:
            outside = self._settings.external_access
            if not outside:
                raise SandboxError(
                    f"{job.label} declares external_access, and this service allows none; "
                    "ask its operator to set `external_access` to the URLs and folders that models may read (or to '*')"
                )
        return Needs(
            home=(job.database, job.default_schema),
            reads=_files(job),
            outside=outside,
            cpus=job.resources.cpus,
            memory=job.resources.memory,
            settings=said,
        )

    def check(self, connection: duckdb.DuckDBPyConnection, job: Job, known: set[str]) -> None:
        """Refuse SQL that does not belong into the job's place for it; ``known`` are definitions that passed before."""
        rules = dataclasses.replace(self._rules, outside=job.external_access)
        for statement in (*job.definitions, *job.setup):
            if statement not in known:
                rules.statements(connection, statement)
        for item in job.inputs:
            if item.sql is not None:
                rules.select(connection, item.sql, f"the view {item.schema}.{item.name}")
            for column in item.columns:
                rules.expression(column.type, f"a type of {item.schema}.{item.name}")
            if item.function is not None:
                _check_function(rules, connection, item.function, f"{item.schema}.{item.name}")
        _check_action(rules, connection, job)

    def reading(self, connection: duckdb.DuckDBPyConnection) -> Callable[[str], None]:
        """What refuses SQL that is no SELECT of a job's own inputs."""
        return lambda sql: self._rules.select(connection, sql)

    def run_setup(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        """Run a statement before a job. One that changes a setting has been heeded when the DuckDB was made."""
        for statement in others(sql):
            connection.execute(statement)
        self._luggage.note(sql)

    def without_settings(self, sql: str) -> str | None:
        """What is left to do of a query's text, of which settings were changed when the DuckDB was made; None if nothing is."""
        if self._luggage.drop_waiting(sql):
            return None
        if not settings_in(sql):
            return sql
        rest = others(sql)
        return ";\n".join(rest) if rest else None

    def note(self, job: Job) -> None:
        """Remember what a job made that is to be made again in another DuckDB."""
        self._clean = self._clean and leaves_nothing(job)
        if isinstance(job.action, Query):
            self._luggage.note(job.action.sql)
        elif getattr(job.action, "python", None) is not None:
            self._luggage.heavy = True

    def settle(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make what can only be made once a job's inputs are bound: the session's views."""
        self._luggage.settle(connection)

    def rest(self) -> None:
        """Prepare for what comes next, in the background."""
        self._spare.prepare(_SOON)

    def spoil(self) -> None:
        """A job failed: nobody knows what it left behind."""
        self._clean = False

    def end(self, engine: Engine | None) -> bool:
        """The session is over; whether the next one finds its engine and connection, if it needs the very same files."""
        self._said = {}
        self._luggage = Luggage()
        self._inherited = engine is not None and self._clean and self._now is not None
        self._clean = True
        if not self._inherited:
            self._now = None
            if engine is not None:
                self._spare.discard(engine.instance)
        self._spare.prepare(_SOON)
        return self._inherited

    def close(self) -> None:
        """Stop the spare."""
        self._spare.close()


def refuse_vague(outside: Iterable[str]) -> None:
    """Raise for entries of ``external_access`` that would allow more than they say."""
    for entry in outside:
        if entry == ANYWHERE or (entry.startswith("/") and entry.strip("/")):
            continue
        parts = urlsplit(entry)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ConfigError(
                f"external_access {entry!r} is no https:// address, absolute folder or '*'; an S3 bucket is named by its "
                "https:// address, since a path s3://… can be made to lead to any other host"
            )


def _table_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type IN ('table', 'table_macro')"
    ).fetchall()
    return frozenset(row[0] for row in rows)


def _settings_of(job: Job) -> dict[str, str]:
    texts = [*job.setup, job.action.sql] if isinstance(job.action, Query) else list(job.setup)
    return {name: statement for sql in texts for name, statement in settings_in(sql).items()}


def _files(job: Job) -> frozenset[str]:
    """The files that a job's inputs, and the table it changes, consist of."""
    locations = {item.metadata_location for item in job.inputs}
    action = job.action
    staged: list[str] = []
    match action:
        case Append() | Alter() | Stage() | Compact():
            locations.add(action.base)
        case Join():
            locations.add(action.base)
            staged = [file.path for part in action.staged for file in part.files]
        case Edit():
            locations.add(action.target.metadata_location)
    locations.discard(None)
    if not locations and not staged:
        return frozenset()
    # Imported late: pyiceberg takes a third of a second, which a job without tables need not pay.
    from dbt.adapters.lakehouse.tables import metadata, reader

    files: set[str] = set()
    for location in locations:
        assert location is not None
        table = metadata.load(location)
        every: tuple[LiveFile, ...] = (*table.data, *table.deletes)
        files.update(name for file in every for name in reader.names(file.path))
    files.update(name for path in staged for name in reader.names(path))
    return frozenset(files)


def _check_function(rules: Rules, connection: duckdb.DuckDBPyConnection, function: Definition, name: str) -> None:
    for signature in function.signatures:
        for argument in signature.arguments:
            rules.expression(argument.type, f"a type of {name}")
            if argument.default is not None:
                rules.expression(argument.default, f"a default of {name}")
        rules.expression(signature.returns, f"a type of {name}")
        # Code in Python runs elsewhere.
        if function.language == "sql":
            rules.expression(signature.body, f"the body of {name}")
            rules.select(connection, f"SELECT ({signature.body}\n)", f"the body of {name}")


def _check_action(rules: Rules, connection: duckdb.DuckDBPyConnection, job: Job) -> None:
    action = job.action
    match action:
        case Query():
            rules.statements(connection, action.sql)
        case Describe():
            rules.select(connection, action.sql)
        case Bind():
            # Each piece of SQL is looked at when its turn comes.
            for sketch in (*action.standing, *action.drafts):
                for column in (*sketch.columns, *sketch.contract):
                    rules.expression(column.type, f"a type of {sketch.node}")
        case Alter():
            _check_alterations(rules, action)
        case Compact():
            pass  # no SQL comes along
        case Create():
            _check_rows(rules, connection, action.sql, action.spec.constraints)
        case _:
            _check_rows(rules, connection, getattr(action, "sql", None), action.constraints)
            _check_places(rules, connection, action)


def _check_places(rules: Rules, connection: duckdb.DuckDBPyConnection, action: Append | Stage | Join | Edit) -> None:
    match action:
        case Edit():
            if action.matching is not None:
                rules.expression(action.matching, "a condition")
            for statement in action.statements:
                rules.change(connection, statement)
        case Stage():
            rules.expression(action.range.condition, "a time range")
        case Join():
            for part in action.staged:
                rules.expression(part.range.condition, "a time range")
        case Append():
            pass


def _check_alterations(rules: Rules, action: Alter) -> None:
    for alteration in action.alterations:
        if alteration.what in ("add_column", "set_type") and alteration.to is not None:
            rules.expression(alteration.to, "a type")


def _check_rows(rules: Rules, connection: duckdb.DuckDBPyConnection, sql: str | None, constraints: Constraints) -> None:
    if sql is not None:
        rules.select(connection, sql)
    for _, check in constraints.checks:
        rules.expression(check, "a constraint")
    for reading in constraints.reads:
        rules.select(connection, reading)


_LOOK_SECONDS = 1.0
_LONG, _SOON = 0.05, 0.003
"""Seconds after which the next DuckDB is made: while a job runs, if it takes longer than most; else when it has answered.

Python does nothing else meanwhile, so that neither the start of a job nor its answer shall meet it.
"""


class _Spare:
    """A DuckDB that is ready before it is wanted, and the end of those that were.

    Its thread is there from the beginning: under a job's memory limit, Python may wait for ever for one to start.
    """

    def __init__(self, settings: LakeSettings, first: Instance) -> None:
        self._settings = settings
        self._ready: Instance | None = first
        self._gone: list[Instance] = []
        self._due = 0.0
        self._moved = threading.Condition()
        self._making = False
        self._closed = False
        # No daemon: a process that ends while DuckDB starts or stops in a thread would be aborted.
        self._thread = threading.Thread(target=self._work, name="lakehouse-spare")
        self._thread.start()

    def take(self) -> Instance:
        """A DuckDB that nobody has used."""
        with self._moved:
            self._due = 0.0
            self._moved.notify_all()
            while self._making:
                self._moved.wait()
            ready, self._ready = self._ready, None
        return ready or Instance(self._settings)

    def discard(self, instance: Instance) -> None:
        """Close one that was used, when there is time."""
        self._gone.append(instance)

    def prepare(self, after: float) -> None:
        """Do both in the background, in so many seconds."""
        due = time.monotonic() + after
        with self._moved:
            if self._making:
                self._due = min(due, self._due)
            elif not self._closed and (self._ready is None or self._gone):
                self._due, self._making = due, True
            self._moved.notify_all()

    def _work(self) -> None:
        while self._is_wanted():
            made = self._ready
            if made is None and not self._closed:
                # What is wrong is said to the job that finds no spare one.
                with contextlib.suppress(Exception):
                    made = Instance(self._settings)
            with self._moved:
                self._ready, self._making = made, False
                self._moved.notify_all()
            while self._gone:
                with contextlib.suppress(Exception):
                    self._gone.pop().close()

    def _is_wanted(self) -> bool:
        """Wait until there is something to do, and the time for it; False at the end."""
        with self._moved:
            while not self._making:
                # A program that ends without closing its sandbox must not wait for this thread.
                if self._closed or not threading.main_thread().is_alive():
                    return False
                self._moved.wait(_LOOK_SECONDS)
            while (left := self._due - time.monotonic()) > 0:
                self._moved.wait(left)
            return True

    def close(self) -> None:
        """Stop all that is left."""
        with self._moved:
            self._closed, self._due = True, 0.0
            self._moved.notify_all()
        self._thread.join()
        for instance in [*self._gone, *([self._ready] if self._ready is not None else [])]:
            instance.close()
        self._gone, self._ready = [], None
