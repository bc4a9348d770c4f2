"""One thread's way into a run, or into a state that is only read."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.model import (
    Entry,
    Key,
    Materialized,
    SchemaEntry,
    TableEntry,
    ViewEntry,
    content_id,
)
from dbt.adapters.lakehouse.errors import ConfigError, JobCancelled, NotInLake, SchemaMismatch, SqlError
from dbt.adapters.lakehouse.executors.base import Executor, Lease, Requester, RowStream
from dbt.adapters.lakehouse.jobs.job import (
    Action,
    Append,
    Create,
    Describe,
    Edit,
    Input,
    Job,
    JobResult,
    PythonCode,
    Query,
    Watch,
)
from dbt.adapters.lakehouse.run import (
    batches,
    beneath,
    changes,
    code,
    fingerprint,
    functions,
    grants,
    materialized,
    recipe,
    reuse,
)
from dbt.adapters.lakehouse.run.asked import asked
from dbt.adapters.lakehouse.run.attached import named, refuse
from dbt.adapters.lakehouse.run.beside import reads_beside
from dbt.adapters.lakehouse.run.calls import FUNCTIONS_SQL, Row
from dbt.adapters.lakehouse.run.catalog_sql import answerable
from dbt.adapters.lakehouse.run.details import Details, details
from dbt.adapters.lakehouse.run.inputs import InputPlanner
from dbt.adapters.lakehouse.run.prepared import Prepared
from dbt.adapters.lakehouse.run.state import State
from dbt.adapters.lakehouse.run.statements import Kind, hides_reads, parse
from dbt.adapters.lakehouse.run.tokens import split
from dbt.adapters.lakehouse.run.values import (
    Build,
    Built,
    Draft,
    Function,
    Looked,
    Name,
    PythonSource,
    Recalled,
    Result,
    Reused,
    View,
    Wish,
    rows_of,
)
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import folder_name
from dbt.adapters.lakehouse.tables.values import Column, TableSpec, Written
from dbt.adapters.lakehouse.telemetry import Span

if TYPE_CHECKING:
    import pyarrow as pa

    from dbt.adapters.lakehouse.run.lifecycle import LakeRun


class RunSession:
    """See ``lake.base.Session``. Without a run it only reads.

    ``keeps_state`` says whether settings of its worker's connection were (or may have been) changed; ``temporaries`` are
    the temporary relations there, ``by_hand`` the databases that its statements attached.
    ``seen`` is what the statement at work found where it writes, ``said`` what its commit
    is to say of it, ``began`` when it began.
    """

    def __init__(
        self,
        *,
        state: State,
        executor: Executor,
        settings: LakeSettings,
        default_schema: str,
        run: LakeRun | None,
        requester: Requester | None = None,
        node: str | None = None,
    ) -> None:
        self.state = state
        self.run = run
        self.node = node
        self.default_schema = default_schema
        self.database = settings.database
        self.temporaries: set[str] = set()
        self.keeps_state = False
        self.by_hand: frozenset[str] = frozenset()
        self.seen: dict[Key, str | None] = {}
        self.said: dict[str, Any] = {}
        self.began = 0.0
        self._prepared: set[str] = set()
        self._statements = Prepared()
        self._aliases = tuple(one.alias for one in settings.attached)
        self._reading = run.request.id if run is not None else uuid.uuid4().hex
        self.planner = InputPlanner(state, settings.database, default_schema, self._aliases, self._reading)
        self.settings = settings
        self._executor = executor
        if run is not None:
            requester = Requester(user=run.request.author, run=run.request.id)
        self._requester = requester
        self._lease: Lease | None = None
        self._span = run.span if run is not None else Span()
        self._cancelled = False

    # reading

    def execute(self, sql: str, *, fetch: bool = True, limit: int | None = None, test: str | None = None) -> Result:
        """See ``lake.base.Session``."""
        result = Result()
        statements = [parse(text) for text in split(sql)]
        # Before the first of them runs, since nothing takes back what one has written.
        for statement in statements:
            _refuse(statement.kind)
        request = asked.get()
        for number, statement in enumerate(statements):
            if request is not None and request.did(number):
                result = Result()
                continue
            text = statement.sql
            self._refresh()
            if (wish := grants.parse_grant(text)) is not None:
                result = grants.apply(self, wish)
                continue
            self.keeps_state = self.keeps_state or statement.kind is Kind.OTHER
            if test is not None and len(statements) == 1 and statement.kind is Kind.SELECT:
                result = reuse.tested(self, text, test, partial(self._query, text, fetch=fetch, limit=limit))
            elif statement.kind in (Kind.SELECT, Kind.OTHER):
                if statement.kind is Kind.OTHER:
                    self._statements.note(self, text)
                result = self._query(text, fetch=fetch, limit=limit)
                self._note_attached(text)
            elif statement.kind is Kind.DEFINE:
                result = self._query(text, fetch=fetch, limit=limit)
                if self.run is not None and statement.body is not None:
                    self.run.define(statement.body)
            elif statement.kind is not Kind.TRANSACTION:
                result = changes.apply(self, statement)
        return result

    def _query(self, sql: str, *, fetch: bool, limit: int | None) -> Result:
        prepared = self._statements.of(sql)
        inputs = self.inputs(sql) if prepared is None else self.inputs(sql, prepared[1])
        # Prepared once more: this may be another DuckDB, and what the statement reads another state.
        setup = () if prepared is None else prepared[:1]
        answer = self.submit(Query(sql=sql, fetch=fetch, limit=limit), inputs, setup)
        return Result(columns=answer.columns, rows=answer.rows, rows_affected=answer.rows_affected)

    def _note_attached(self, sql: str) -> None:
        """Remember which databases are attached by hand, after a statement that attached one or let go of it."""
        if sql.lstrip()[:6].lower() in ("attach", "detach"):
            rows = self.submit(Query(sql="SELECT lower(database_name) FROM duckdb_databases() WHERE NOT internal")).rows
            found = {str(row[0]) for row in rows} - {"memory"}
            self.by_hand = frozenset(
                name for name in found if self.state.snapshot(name) is None and named(self.settings, name) is None
            )

    def arrow(self, sql: str) -> pa.Table:
        """See ``lake.base.Session``."""
        self._refresh()
        answer = self.submit(Query(sql=sql, arrow=True), self.inputs(sql))
        if answer.arrow is None:
            raise ConfigError("the statement gives no rows; only a SELECT can be fetched as Arrow")
        return answer.arrow

    def stream(self, sql: str) -> RowStream:
        """The rows of one SELECT while they are made. The session does nothing else before they are read, or closed."""
        self._refresh()
        return self._leased().stream(self._job(Query(sql=sql), self.inputs(sql)))

    def describe(self, sql: str, setup: tuple[str, ...] = ()) -> tuple[Column, ...]:
        """See ``lake.base.Session``."""
        self._refresh()
        columns = self.submit(Describe(sql=sql), self.planner.inputs(sql, *setup), self._unprepared(setup)).columns
        self._prepared.update(setup)
        return columns

    def bind(self, drafts: Sequence[Draft]) -> list[Looked]:
        """See ``lake.base.Session``."""
        # Imported late: one session of a run does this, if any.
        from dbt.adapters.lakehouse.run import preflight

        self._refresh()
        return preflight.look(self, drafts)

    def functions(self) -> list[Row]:
        """What the worker's DuckDB says of its functions; nothing where it may not be asked."""
        try:
            return list(self.submit(Query(sql=FUNCTIONS_SQL)).rows)
        except SqlError:
            return []

    def prepared_others(self, setup: tuple[str, ...]) -> bool:
        """Whether headers of other nodes ran in this session."""
        return bool(self._prepared - set(setup))

    def _unprepared(self, setup: tuple[str, ...]) -> tuple[str, ...]:
        """Statements of a header that did not run yet: a macro is not made a second time, nor a setting set."""
        return tuple(statement for statement in setup if statement not in self._prepared)

    def lookup(self, name: Name) -> Entry | None:
        """See ``lake.base.Session``."""
        self._refresh()
        return self.state.get(name) if named(self.settings, name.database) is None else None

    def details(self, names: Sequence[Name]) -> list[Details | None]:
        """See ``lake.base.Session``."""
        self._refresh()
        return details(self, names)

    def relations(self, database: str, schema: str | None = None) -> list[Entry]:
        """See ``lake.base.Session``."""
        self._refresh()
        snapshot = self.state.snapshot(database)
        entries = snapshot.all(schema) if snapshot is not None else []
        return [entry for entry in entries if not isinstance(entry, SchemaEntry)]

    def schemas(self, database: str) -> list[str]:
        """Names of the schemas in a state of the lake."""
        self._refresh()
        return self.state.schemas(database)

    def _refresh(self) -> None:
        if self.run is not None:
            self.run.own()

    # working

    def submit(
        self,
        action: Action,
        inputs: tuple[Input, ...] = (),
        setup: tuple[str, ...] = (),
        *,
        build: Build | None = None,
        watch: Watch | None = None,
    ) -> JobResult:
        """Run one job on this session's worker; ``build`` says what it may take, if it is a node's."""
        lease = self._leased()
        job = self._job(action, inputs, setup, build)
        with self._span.child("job", key=job.key, label=job.label) as span:
            result = lease.run(job, watch)
            span.phases(result.phases)
        return result

    def check_open(self) -> None:
        """Raise ``JobCancelled`` once the run or this session was cancelled."""
        if self.run is not None:
            self.run.check_open()
        if self._cancelled:
            raise JobCancelled("the session was cancelled")

    def _leased(self) -> Lease:
        self.check_open()
        if self._lease is None:
            self._lease = self._executor.lease(self._requester)
        return self._lease

    def _job(
        self, action: Action, inputs: tuple[Input, ...], setup: tuple[str, ...] = (), build: Build | None = None
    ) -> Job:
        if self.state.granted_only:
            beneath.check(action, setup)
        definitions = self.run.definitions if self.run is not None else ()
        return Job(
            key=uuid.uuid4().hex,
            database=self.database,
            default_schema=self.default_schema,
            action=answerable(action, self.planner.is_state),
            inputs=functions.added(inputs, self.planner, definitions),
            definitions=definitions,
            setup=setup,
            **({} if build is None else _demands(build)),
        )

    def build(self, build: Build, watch: Watch | None = None) -> Built:
        """See ``lake.base.Session``."""
        outer = self._span
        self._span = outer.child("node", node=build.node, relation=str(build.name))
        try:
            with self._span:
                return self._build(build, watch)
        finally:
            self._span = outer

    def _build(self, build: Build, watch: Watch | None) -> Built:
        _check_name(build.name)
        if build.sql is not None and build.file is None:
            build = dataclasses.replace(build, sql=code.one_query(build.node or str(build.name), build.sql))
        run = self.writable(build.name.database, str(build.name))
        key = Key(build.name.schema, build.name.name)
        build = dataclasses.replace(build, constraints=dataclasses.replace(build.constraints, table=str(key)))
        if build.batch is not None and (built := batches.build(self, run, build, watch)) is not None:
            return built
        with self.locked(run, key):
            self._refresh()
            started = time.perf_counter()
            current = self.state.own.get(key)
            table = current if isinstance(current, TableEntry) else None
            if build.mode != "create" and table is None:
                raise NotInLake(f"{build.name} is not a table; only create can make it")
            if build.mode != "create" and table is not None:
                materialized.check_rows_of(build.name, table)
            inputs = self._inputs_of(build)
            known = self.planner.keys(inputs)
            action = self._action(build, table)
            seen = {key: self.state.own.content(key)}
            with reuse.attempt(self, run, build, table) as attempt:
                if attempt.found is not None:
                    entry = attempt.entry(build, self.beneath_its_rows(build.node, known), table)
                    self._put_found(run, build, entry, attempt, seen)
                    if build.batch is not None:
                        batches.begin(self, run, build, entry, 0.0)
                    return Built(entry=entry, reused=attempt.reused)
                run.begin()
                answer = materialized.altered(self, build, table) or self.prepared(action, inputs, build, watch)
                assert answer.written is not None
                content = reuse.content_after(build, table, answer.written)
                view = materialized.view_of(build)
                entry = table_entry(
                    build.name,
                    answer.written,
                    node=build.node,
                    inputs=self.beneath_its_rows(build.node, known),
                    content=content,
                    view=view,
                )
                attempt.seconds = time.perf_counter() - started
                provenance = {
                    **_provenance(build, known, attempt),
                    "rows_written": answer.written.rows_written,
                    "rows_deleted": answer.written.rows_deleted,
                    "seconds": round(attempt.seconds, 6),
                }
                puts = [*self.schema_put(build.name.schema), (key, entry)]
                run.commit(puts, f"Build {key}", provenance, seen=seen)
                attempt.made = entry
            if build.batch is not None:
                batches.begin(self, run, build, entry, attempt.seconds)
        return Built(
            entry=entry,
            rows_written=answer.written.rows_written,
            rows_deleted=answer.written.rows_deleted,
            why_not=attempt.why_not,
        )

    def _put_found(
        self, run: LakeRun, build: Build, entry: TableEntry, attempt: reuse.Attempt, seen: Mapping[Key, str | None]
    ) -> None:
        """Put a result that was made before where the build wants it, unless it stands there already."""
        key = Key(entry.schema, entry.name)
        if seen[key] == content_id(entry):
            return
        run.begin()
        reused = {"reused": dataclasses.asdict(attempt.reused)} if attempt.reused is not None else {}
        provenance = {**_provenance(build, entry.inputs, attempt), **reused}
        run.commit([*self.schema_put(entry.schema), (key, entry)], f"Reuse {key}", provenance, seen=seen)

    def prepared(self, action: Action, inputs: tuple[Input, ...], build: Build, watch: Watch | None) -> JobResult:
        """Run a build's job after its header."""
        answer = self.submit(action, inputs, self._unprepared(build.setup), build=build, watch=watch)
        self._prepared.update(build.setup)
        return answer

    def _action(self, build: Build, table: TableEntry | None) -> Action:
        python = _python_code(build.python, self.settings.module_paths) if build.python is not None else None
        if build.mode == "create":
            spec = self.table_spec(build.name, table, build)
            replaces = table.metadata_location if table is not None else None
            return Create(spec=spec, sql=build.sql, python=python, arrow=build.arrow, replaces=replaces)
        assert table is not None
        if build.mode != "merge":
            return Append(
                base=table.metadata_location,
                sql=build.sql,
                python=python,
                arrow=build.arrow,
                overwrite=build.mode == "overwrite",
                on_schema_change=build.on_schema_change,
                constraints=build.constraints,
            )
        if python is not None:
            raise ConfigError(f"{build.name}: rows of Python code are merged by way of a table; build that first")
        # What hides behind a view or a macro may be the target itself, of which all rows must then be there.
        hidden = build.matching is not None and any(map(self.reads_hidden, build.statements))
        return Edit(
            target=self.as_input(table),
            matching=None if hidden else build.matching,
            statements=build.statements,
            source=build.source,
            sql=build.sql,
            incoming=build.incoming,
            on_schema_change=build.on_schema_change,
            constraints=build.constraints,
        )

    def recall(self, wishes: Sequence[Wish]) -> list[Recalled | None]:
        """See ``lake.base.Session``."""
        from dbt.adapters.lakehouse.run.recall import recall

        self._refresh()
        return recall(self, wishes)

    def aside(self) -> RunSession:
        """A session of the same run in which entries can be put in place that the run does not hear of."""
        assert self.run is not None
        session = self.run.session()
        session.state = self.state.aside()
        names = (self.database, self.default_schema)
        session.planner = InputPlanner(session.state, *names, self._aliases, self._reading)
        return session

    def known_inputs(self, build: Build) -> dict[str, str]:
        """What a build reads, by key: content ids of what stands there."""
        return self.planner.keys(self._inputs_of(build))

    def beneath_its_rows(self, node: str | None, inputs: Mapping[str, str]) -> dict[str, str]:
        """Inputs of a node's table; those of the table that its Python code filled for the moment, in the place of that."""
        found: dict[str, str] = {}
        for name, content in inputs.items():
            entry = self.state.own.get(Key(*name.split(".", 1))) if "@" not in name else None
            if isinstance(entry, TableEntry) and entry.node == rows_of(node):
                found.update(entry.inputs)
            else:
                found[name] = content
        return found

    def _inputs_of(self, build: Build) -> tuple[Input, ...]:
        texts = (*_texts(build), *functions.relations_in_python(build))
        return functions.added(self.inputs(*texts), self.planner, functions.in_python(build))

    def create_view(
        self, name: Name, sql: str, *, node: str | None = None, comment: str | None = None, **more: Any
    ) -> Built:
        """See ``lake.base.Session``. ``column_comments``, ``setup``, ``rebuild``, ``provenance``: see ``Build``."""
        _check_name(name)
        sql = code.one_query(node or str(name), sql)
        run = self.writable(name.database, str(name))
        key = Key(name.schema, name.name)
        with self.locked(run, key):
            self._refresh()
            seen = {key: self.state.own.content(key)}
            if (same := self.same_view(name, sql, node, comment, more)) is not None:
                return Built(entry=same, reused=Reused(run=None, author="", seconds=0.0))
            started = time.perf_counter()
            entry = self._view(name, sql, node, comment, more)
            comments = more.get("column_comments", {})
            view = View(name=name, sql=sql, node=node, comment=comment, column_comments=comments)
            provenance = {
                **more.get("provenance", {}),
                "node": node,
                "mode": "view",
                "sql": sql,
                "inputs": entry.inputs,
                "recipe": recipe.view_recipe(view, more.get("setup", ())),
                "seconds": round(time.perf_counter() - started, 6),
            }
            puts = [*self.schema_put(name.schema), (key, entry)]
            run.commit(puts, f"Create view {key}", provenance, seen=seen)
        return Built(entry=entry)

    def create_function(self, function: Function, *, rebuild: bool = False) -> Built:
        """See ``lake.base.Session``."""
        return functions.create(self, function, rebuild=rebuild)

    def same_view(
        self, name: Name, sql: str, node: str | None, comment: str | None, more: dict[str, Any]
    ) -> ViewEntry | None:
        """The view that stands there, if it says the same and was made over the same relations.

        What an attached database or a file holds may have other columns now, so that a view of it is made anew then.
        """
        current = self.state.get(name)
        if not isinstance(current, ViewEntry) or more.get("rebuild") or more.get("setup"):
            return None
        if (current.sql, current.node, current.comment) != (sql, node, comment):
            return None
        if current.engine is None or current.engine != self._engine():
            return None
        wanted = {key.lower(): value for key, value in more.get("column_comments", {}).items()}
        if any(column.comment != wanted.get(column.name.lower()) for column in current.columns):
            return None
        inputs = self.inputs(sql)
        if any(item.attached for item in inputs):
            return None
        if self.planner.keys(inputs) != dict(current.inputs):
            return None
        return None if reads_beside(self, sql) and not self._has_columns(sql, inputs, current) else current

    def _has_columns(self, sql: str, inputs: tuple[Input, ...], view: ViewEntry) -> bool:
        try:
            found = self.submit(Describe(sql=sql), inputs).columns
        except SqlError:
            return False  # who makes the view hears why
        return [(one.name, one.type) for one in found] == [(one.name, one.type) for one in view.columns]

    def _view(self, name: Name, sql: str, node: str | None, comment: str | None, more: dict[str, Any]) -> ViewEntry:
        setup = more.get("setup", ())
        inputs = self.inputs(sql, *setup)
        if any(self._is_at(item, name) for item in inputs):
            raise SqlError(f"view {name} would read itself; let it read something else, or make it a table")
        columns = self.submit(Describe(sql=sql), inputs, setup).columns
        _refuse_duplicates(name, columns)
        comments = {key.lower(): value for key, value in more.get("column_comments", {}).items()}
        return ViewEntry(
            schema=name.schema,
            name=name.name,
            sql=sql,
            columns=tuple(Column(name=c.name, type=c.type, comment=comments.get(c.name.lower())) for c in columns),
            comment=comment,
            node=node,
            inputs=self.planner.keys(inputs),
            engine=None if setup else self._engine(),
        )

    def _engine(self) -> str | None:
        """What columns of views depend on beside code and inputs; None where macros and the session may be part of it."""
        if self.run is None or self.run.definitions or self.temporaries or self.keeps_state:
            return None
        return fingerprint.engine(self)

    def _is_at(self, item: Input, name: Name) -> bool:
        """Whether an input is what stands at a name of the own state."""
        return self.state.is_own(item.database) and Key(item.schema, item.name) == Key(name.schema, name.name)

    # for ``changes``

    def writable(self, database: str, what: str) -> LakeRun:
        """The run to write through. Raises ``ConfigError`` in a session that only reads, or for another state's name."""
        if self.run is None:
            raise ConfigError(f"{what} cannot be changed here: this session only reads")
        refuse(self.settings, database, what)
        if not self.state.is_own(database):
            raise ConfigError(
                f"{what} is read-only: {database!r} names a fixed state; write to {self.database!r} instead"
            )
        return self.run

    def inputs(self, *texts: str) -> tuple[Input, ...]:
        """The inputs of a job that runs these statements; what was staged for them is in them."""
        found = self.planner.inputs(*texts)
        if self.run is not None:
            if batches.settle_inputs(self, self.run, found):
                found = self.planner.inputs(*texts)
            self.run.note(self.node, found)
        return found

    def note_reads(self, sql: str) -> None:
        """What a statement reads counts for a serializable run even if its answer was given before."""
        if self.run is not None and self.run.serializable:
            self.inputs(sql)

    @contextlib.contextmanager
    def locked(self, run: LakeRun, key: Key) -> Iterator[None]:
        """Nobody else writes at the key meanwhile, and what was staged for it is joined."""
        with run.lock_for(key):
            batches.settle(self, run, key)
            yield

    def reads_hidden(self, sql: str) -> bool:
        """Whether a statement may read relations that it does not name: through a view, a macro, or ``query(…)``."""
        for item in self.planner.inputs(sql):
            if item.is_view or (item.function is not None and functions.reads_relations(item.function)):
                return True
        return hides_reads(sql, self.run.definitions if self.run is not None else ())

    def as_input(self, table: TableEntry) -> Input:
        """A table of the own state as a job's input."""
        return Input(
            database=self.database, schema=table.schema, name=table.name, metadata_location=table.metadata_location
        )

    def table_spec(self, name: Name, table: TableEntry | None, build: Build | None = None) -> TableSpec:
        """Where a table goes: where it is already, or a new folder under its name."""
        if table is not None:
            location, identity = table.location, table.table_uuid
        else:
            identity = str(uuid.uuid4())
            folder = f"{folder_name(name.schema)}/{folder_name(name.name)}"
            location = f"{self.settings.warehouse}/{folder}/{identity[:8]}"
        if build is None:
            return TableSpec(location=location, table_uuid=identity)
        return TableSpec(
            location=location,
            table_uuid=identity,
            partition_by=build.partition_by,
            sort_by=build.sort_by,
            properties=build.properties,
            comment=build.comment,
            column_comments=build.column_comments,
            constraints=build.constraints,
        )

    def schema_put(self, schema: str) -> list[tuple[Key, Entry | None]]:
        """The schema's own entry, if this write is the first thing in it."""
        return [] if self.state.has_schema(schema) else [(Key(schema, ""), SchemaEntry(schema=schema))]

    # ending

    def cancel(self) -> None:
        """See ``lake.base.Session``."""
        self._cancelled = True
        lease = self._lease
        if lease is not None:
            lease.cancel()

    def close(self) -> None:
        """See ``lake.base.Session``."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()


def _python_code(source: PythonSource, modules: tuple[str, ...]) -> PythonCode:
    return PythonCode(
        code=source.code,
        path=source.path,
        line=source.line,
        packages=source.packages,
        python_version=source.python_version,
        internet_access=source.internet_access,
        modules=modules,
    )


def _demands(build: Build) -> dict[str, Any]:
    """What a build asks of its job."""
    return {
        "resources": build.resources,
        "external_access": build.external_access,
        "identified": build.content_identity,
        "label": build.node or str(build.name),
    }


def _provenance(build: Build, known: Mapping[str, str], attempt: reuse.Attempt) -> dict[str, Any]:
    """What a build's commit says of how it came about."""
    return {
        **build.provenance,
        "node": build.node,
        "mode": build.mode,
        "sql": build.sql,
        "python": build.python.code if build.python is not None else None,
        "inputs": known,
        "recipe": recipe.recipe(build),
        **(_marked(build, attempt.mark) if attempt.mark is not None else {}),
        **({"not_reusable": list(attempt.why_not)} if attempt.why_not else {}),
        **({"not_looked_for": "never" if build.reuse == "never" else "rebuild"} if _is_made_anew(build) else {}),
        **({"waited_for": attempt.waited_for} if attempt.waited_for is not None else {}),
    }


def _marked(build: Build, mark: fingerprint.Fingerprint) -> dict[str, Any]:
    """What a fingerprint says for a commit; of Python also what it ran on."""
    said: dict[str, Any] = {"fingerprint": mark.id}
    if mark.steady:
        said["depends_on_time"] = True
    if build.python is not None:
        known = ("python", "packages")
        said["environment"] = {
            name: value
            for name, value in mark.parts.items()
            if name in known or name.startswith(("package ", "module "))
        }
    return said


def _is_made_anew(build: Build) -> bool:
    """Whether an earlier result was not even looked for."""
    return build.rebuild or build.reuse == "never"


def table_entry(
    name: Name,
    written: Written,
    *,
    node: str | None,
    inputs: Mapping[str, str],
    content: str | None = None,
    view: Materialized | None = None,
) -> TableEntry:
    """The catalog entry of a table as it was written."""
    return TableEntry(
        schema=name.schema,
        name=name.name,
        metadata_location=written.metadata_location,
        table_uuid=written.table_uuid,
        snapshot_id=written.snapshot_id,
        location=written.location,
        columns=written.columns,
        rows=written.rows,
        size_bytes=written.size_bytes,
        comment=written.comment,
        node=node,
        inputs=inputs,
        content=content,
        layout=written.layout,
        view=view,
    )


def _texts(build: Build) -> tuple[str, ...]:
    """All SQL in a build that may name relations."""
    texts = [*build.setup, *build.statements, *build.constraints.reads]
    if build.sql is not None:
        texts.append(build.sql)
    if build.python is not None:
        texts.extend(f"SELECT * FROM {relation}" for relation in build.python.reads)
    if build.matching is not None:
        texts.append(f"SELECT {build.matching}")
    return tuple(texts)


def _check_name(name: Name) -> None:
    """Raise for a name that no statement could ever say again, or find."""
    code.check_schema(name.schema)
    for part in (name.schema, name.name):
        if not part or "\0" in part:
            raise ConfigError(
                f"{str(name)!r} is no name of a table or view: each part of it needs characters, and none of them null"
            )
    functions.refuse_name(name)


def _refuse(kind: Kind) -> None:
    """Raise for statements that would be misunderstood."""
    if kind is Kind.ROLLBACK:
        raise SqlError(
            "ROLLBACK is not supported: the run is the transaction, and BEGIN and COMMIT within it do nothing; "
            "raise an error to leave everything that the run wrote unpublished"
        )
    if kind is Kind.USE:
        raise SqlError(
            "USE and SET schema are not supported: the target's schema is the default; name relations in full"
        )
    if kind is Kind.DATABASE:
        raise SqlError(
            "EXPORT DATABASE and IMPORT DATABASE are not supported: the lake is no database of DuckDB's; "
            "COPY a table TO a file, or create one from a file"
        )


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
"""DuckDB's names ignore the case of these, and of no other letters."""


def _refuse_duplicates(name: Name, columns: tuple[Column, ...]) -> None:
    seen: set[str] = set()
    for column in columns:
        folded = column.name.translate(_LOWER)
        if folded in seen:
            raise SchemaMismatch(f"view {name} has two columns named {column.name!r}; give one of them an alias")
        seen.add(folded)
