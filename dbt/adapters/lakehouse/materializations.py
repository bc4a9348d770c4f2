"""Materializations: from what dbt's macros know of a node to what the run's session builds, one call each."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.base.meta import AdapterMeta, available
from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.connection import AdapterResponse
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.events.types import SQLQuery
from dbt_common.events.contextvars import get_node_info
from dbt_common.events.functions import fire_event
from dbt_common.exceptions import CompilationError

from dbt.adapters.lakehouse import (
    cloning,
    demands,
    external_sources,
    materialized_views,
    nodes,
    project_functions,
    promises,
    seeds,
)
from dbt.adapters.lakehouse.catalog.model import TableEntry, ViewEntry
from dbt.adapters.lakehouse.column import LakehouseColumn
from dbt.adapters.lakehouse.connections import LakehouseConnectionManager, ReusedResponse, dbt_errors
from dbt.adapters.lakehouse.credentials import LakehouseCredentials
from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.events import Invocation
from dbt.adapters.lakehouse.jobs.function import SUFFIX
from dbt.adapters.lakehouse.lake.base import Build, Built, LogLine, Name, Progress, PythonSource, Session
from dbt.adapters.lakehouse.relation import LakehouseRelation
from dbt.adapters.lakehouse.run.values import View, rows_of

if TYPE_CHECKING:
    import agate

logger = AdapterLogger("Lakehouse")

_SNAPSHOT_HELPERS = ("dbt_change_type", "dbt_unique_key")
_OWN_MATERIALIZATIONS = frozenset(
    ("table", "view", "materialized_view", "external", "incremental", "seed", "snapshot", "test", "unit")
)
"""What the nodes of these create by a statement is the work of their hooks."""

_SNAPSHOT_MACROS = re.compile(
    r"((\w+__)?(snapshot_\w+|strategy_dispatch|unique_key_\w+|equals|get_dbt_valid_to_current|get_snapshot_\w+"
    r"|get_true_sql|materialization_snapshot_\w+))"
)


class Materializations(metaclass=AdapterMeta):
    """What the macros of materializations call; part of ``LakehouseAdapter``."""

    if TYPE_CHECKING:
        invocation: Invocation
        connections: LakehouseConnectionManager
        Relation: type[LakehouseRelation]
        convert_type: Any
        escape_sql_string: Callable[[Any], str]
        get_macro_resolver: Callable[[], Any]
        quote: Callable[[str], str]
        warn_once: Callable[[str | None], None]

        @property
        def credentials(self) -> LakehouseCredentials:
            """The profile's output."""

        @property
        def _database(self) -> str: ...

        def _name(self, relation: BaseRelation) -> Name: ...

        def _placed(self, message: str) -> str: ...

        def _session(self) -> Session: ...

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_table(
        self, node: Mapping[str, Any], relation: BaseRelation, code: str, sql_header: str | None = None
    ) -> AdapterResponse:
        """Make or replace a table from SQL or Python."""
        with dbt_errors(self._placed):
            return self._respond(self._build(self._create(node, relation, code, sql_header)))

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_view(
        self, node: Mapping[str, Any], relation: BaseRelation, sql: str, sql_header: str | None = None
    ) -> AdapterResponse:
        """Make or replace a view."""
        self._log(self._commented(sql))
        # Without dbt's query comment, which names target and version: the same view must be the same entry.
        view = View(name=self._name(relation), sql=sql, node=node["unique_id"], **nodes.docs(node))
        with dbt_errors(self._placed):
            rebuild = not self.credentials.reuses() or demands.reuse(node["config"])["reuse"] == "never"
            built = self._session().create_view(
                view.name,
                view.sql,
                node=view.node,
                setup=_setup(sql_header),
                provenance=_provenance(node),
                rebuild=rebuild,
                comment=view.comment,
                column_comments=view.column_comments,
            )
        self.invocation.asked(None if rebuild or sql_header else view)
        if built.reused is not None:
            return ReusedResponse.of(built.reused)
        return AdapterResponse(_message="CREATE VIEW", code="CREATE VIEW")

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_materialized_view(
        self,
        node: Mapping[str, Any],
        relation: BaseRelation,
        sql: str,
        full_refresh: bool = False,
        sql_header: str | None = None,
    ) -> AdapterResponse:
        """Make or replace a materialized view, or bring it up to date."""
        self.warn_once(materialized_views.warning(node))
        with dbt_errors(self._placed):
            # Without dbt's query comment, since the SQL is kept.
            create = self._create(node, relation, sql, sql_header, full_refresh)
            build = dataclasses.replace(create, sql=sql, materialized_view=True)
            step = materialized_views.step(self._session().lookup(build.name), node, full_refresh=full_refresh)
            logger.debug(f"Applying {step} to: {relation}")
            return self._respond(self._build(build), f"{step} MATERIALIZED VIEW")

    @available.parse(lambda *a, **k: None)
    def materialized_view_changes(self, node: Mapping[str, Any], relation: BaseRelation) -> dict[str, Any] | None:
        """How a node's configuration differs from the materialized view that stands there, for dbt's macros."""
        with dbt_errors():
            return materialized_views.configuration_changes(self._session().lookup(self._name(relation)), node)

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_function(self, node: Mapping[str, Any], relation: BaseRelation, statement: str) -> AdapterResponse:
        """Make or replace a function; ``statement`` is how dbt writes it."""
        self._log(statement)
        with dbt_errors(self._placed):
            session, name = self._session(), self._name(relation)
            standing = session.lookup(dataclasses.replace(name, name=name.name + SUFFIX))
            wish = project_functions.function(node, name, standing, _provenance(node))
            built = session.create_function(wish, rebuild=not self.credentials.reuses())
        self.invocation.asked(None)
        if built.reused is not None:
            return ReusedResponse.of(built.reused)
        return AdapterResponse(_message="CREATE FUNCTION", code="CREATE FUNCTION")

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_seed(
        self, node: Mapping[str, Any], relation: BaseRelation, agate_table: agate.Table, full_refresh: bool = False
    ) -> AdapterResponse:
        """Make or replace a table from a seed's file, with the types that dbt found or that ``column_types`` says."""
        config = node["config"]
        columns = self.seed_columns(config, agate_table)
        path = str(Path(node["root_path"], node["original_file_path"]))
        with dbt_errors():
            seeds.check_names((name for name, _ in columns), node["original_file_path"])
        code = nodes.seed_sql(
            path,
            columns,
            config.get("delimiter") or ",",
            quoted=config.get("quote_columns") is not False,
            # A file without rows, or one that dbt was told to read none of (``--empty``).
            empty=not agate_table.rows,
        )
        with dbt_errors():
            seed = dataclasses.replace(
                self._create(node, relation, code, None, full_refresh),
                local=True,
                file=nodes.seed_file(path, code),
            )
            try:
                return self._respond(self._build(seed), "INSERT")
            except SqlError as error:
                raise seeds.explained(error, node["original_file_path"]) from error

    @available.parse(lambda *a, **k: None)
    def check_seed(self, node: Mapping[str, Any]) -> None:
        """Raise for a seed's file that dbt could make nothing of."""
        with dbt_errors():
            seeds.check_file(Path(node["root_path"], node["original_file_path"]), node["original_file_path"])

    def seed_columns(self, config: Mapping[str, Any], agate_table: agate.Table) -> list[tuple[str, str]]:
        """Names and types of a seed's columns: as ``column_types`` says, or as dbt found them."""
        overrides = config.get("column_types") or {}
        return [
            (name, overrides.get(name) or self.convert_type(agate_table, index) or "VARCHAR")
            for index, name in enumerate(agate_table.column_names)
        ]

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_incremental(
        self,
        node: Mapping[str, Any],
        relation: BaseRelation,
        code: str,
        full_refresh: bool,
        strategy: str,
        strategy_sql: Callable[[dict[str, Any]], str],
        sql_header: str | None = None,
    ) -> AdapterResponse:
        """Make the table, or change it by the strategy; ``strategy_sql`` is dbt's macro for it."""
        with dbt_errors(self._placed):
            create = self._create(node, relation, code, sql_header, full_refresh)
            change = dataclasses.replace(create, on_schema_change=nodes.schema_change(node))
            existing = self._session().lookup(create.name)
            anew = full_refresh and not self.invocation.has_batches(node["unique_id"])
            if not isinstance(existing, TableEntry) or existing.view is not None or anew:
                time = nodes.batch_range(node) if strategy == "microbatch" else None
                if time is not None:
                    create = dataclasses.replace(change, batch=self.invocation.batch(node["unique_id"], time))
                return self._respond(self._build(create))
            if strategy == "append":
                return self._respond(self._build(dataclasses.replace(change, mode="append")), "INSERT")
            if strategy == "insert_overwrite":
                return self._respond(self._build(dataclasses.replace(change, mode="overwrite")), "INSERT OVERWRITE")
            return self._respond(self._merge(node, relation, change, existing, strategy, strategy_sql), "MERGE")

    def _merge(
        self,
        node: Mapping[str, Any],
        relation: BaseRelation,
        change: Build,
        existing: TableEntry,
        strategy: str,
        strategy_sql: Callable[[dict[str, Any]], str],
    ) -> Built:
        session = self._session()
        with self._rows_of(change, node) as sql:
            incoming = session.describe(sql, change.setup)
            evolving = change.on_schema_change in ("append_new_columns", "sync_all_columns")
            columns = incoming if evolving else existing.columns
            source = self.Relation.create(
                identifier=f"{relation.identifier}__dbt_tmp", quote_policy={"identifier": True}
            )
            config = node["config"]
            rendered = strategy_sql(
                {
                    "target_relation": relation,
                    "temp_relation": source,
                    "unique_key": config.get("unique_key"),
                    "dest_columns": [LakehouseColumn.typed(column.name, column.type) for column in columns],
                    "incremental_predicates": config.get("predicates") or config.get("incremental_predicates"),
                }
            )
            statements = tuple(statements_of(rendered))
            time = nodes.batch_range(node) if strategy == "microbatch" else None
            names = [column.name for column in columns]
            plain = time and nodes.is_plain_batch(time, statements, str(source), str(relation), names)
            return self._build(
                dataclasses.replace(
                    change,
                    mode="merge",
                    sql=sql,
                    python=None,
                    source=source.identifier,
                    statements=statements,
                    matching=nodes.matching(node, strategy, str(source), relation.identifier or "", statements),
                    batch=self.invocation.batch(node["unique_id"], time) if plain and time else None,
                )
            )

    @contextlib.contextmanager
    def _rows_of(self, build: Build, node: Mapping[str, Any]) -> Iterator[str]:
        """SQL for a build's rows: its own, or of a table that its Python code filled for the moment."""
        if build.sql is not None:
            yield build.sql
            return
        session = self._session()
        # The same name each time, since what is merged from it is to be known again; batches run side by side.
        time = nodes.batch_range(node)
        mark = hashlib.sha256(f"{time.start} {time.end}".encode()).hexdigest()[:8] if time is not None else "rows"
        own = f"{build.name.name}__dbt_python_{mark}"
        staged = Name(database=build.name.database, schema=build.name.schema, name=own)
        rows = Build(
            name=staged,
            python=build.python,
            node=rows_of(build.node),
            resources=build.resources,
            reuse=build.reuse,
            rebuild=build.rebuild,
            content_identity=build.content_identity,
            files=build.files,
            more_files=build.more_files,
        )
        self._build(rows)
        try:
            yield f"SELECT * FROM {staged}"
        finally:
            session.execute(f"DROP TABLE IF EXISTS {staged}")

    @available.parse(lambda *a, **k: AdapterResponse("OK"))
    def build_snapshot(
        self,
        node: Mapping[str, Any],
        relation: BaseRelation,
        staging_sql: str,
        scd_id: str,
        merge_sql: Callable[..., str],
        sql_header: str | None = None,
        deciding: Sequence[str] = (),
    ) -> AdapterResponse:
        """Bring a snapshot table up to date: ``staging_sql`` gives dbt's changes, ``merge_sql`` is its macro for them.

        ``deciding`` are the snapshot's query and the expressions of its strategy that say which rows change.
        """
        with dbt_errors(self._placed):
            session = self._session()
            setup = _setup(sql_header)
            described = session.describe(staging_sql, setup)
            helpers = [c.name for c in described if c.name.lower().startswith(_SNAPSHOT_HELPERS)]
            columns = nodes.incoming_columns(described, helpers)
            source = self.Relation.create(
                identifier=f"{relation.identifier}__dbt_tmp", quote_policy={"identifier": True}
            )
            statements = merge_sql(target=relation, source=source, insert_cols=[self.quote(c.name) for c in columns])
            build = Build(
                name=self._name(relation),
                mode="merge",
                sql=staging_sql,
                setup=setup,
                source=source.identifier,
                incoming=tuple(c.name for c in columns),
                statements=tuple(statements_of(statements)),
                matching=f"t.{scd_id}::text IN (SELECT {scd_id}::text FROM {source})",
                on_schema_change="append_new_columns",
                node=node["unique_id"],
                resources=demands.resources(node["config"]),
                external_access=demands.flag(node["config"], "external_access"),
                rebuild=not self.credentials.reuses(),
                provenance=_provenance(node),
                deciding=tuple(deciding) if self._snapshots_as_dbt_does(node) else None,
                **self._reuse(node["config"], node.get("depends_on") or {}),
            )
            return self._respond(self._build(build), "MERGE")

    def _snapshots_as_dbt_does(self, node: Mapping[str, Any]) -> bool:
        """Whether it is dbt's own macros that make a snapshot's SQL, of which it is known where they ask for the time."""
        if node["config"].get("strategy") not in ("timestamp", "check"):
            return False
        macros = getattr(self.get_macro_resolver(), "macros", {}).values()
        return not any(
            _SNAPSHOT_MACROS.fullmatch(macro.name) and macro.package_name not in ("dbt", "dbt_lakehouse", "dbt_duckdb")
            for macro in macros
        )

    @available.parse(lambda *a, **k: None)
    def document(self, node: Mapping[str, Any], relation: BaseRelation) -> None:
        """Bring comments up to date on a relation that this run changed without making it anew."""
        with dbt_errors():
            session = self._session()
            entry = session.lookup(self._name(relation))
            if not isinstance(entry, TableEntry | ViewEntry):
                return
            kind = "VIEW" if isinstance(entry, ViewEntry) else "TABLE"
            comment, columns = nodes.stale_docs(node, entry.comment, entry.columns)
            if comment is not None or columns or nodes.documents_what_is_not_there(node, entry.columns):
                self.invocation.asked(None)
            if comment is not None:
                session.execute(f"COMMENT ON {kind} {relation} IS '{self.escape_sql_string(comment)}'")
            for column, text in columns.items():
                name = self.quote(column)
                session.execute(f"COMMENT ON COLUMN {relation}.{name} IS '{self.escape_sql_string(text)}'")

    @available.parse(lambda *a, **k: "false")
    def batch_condition(self, node: Mapping[str, Any]) -> str:
        """Which rows belong to the batch of a microbatch model that runs, as SQL."""
        condition = nodes.batch(node)
        if condition is None:
            raise CompilationError(
                "microbatch incremental strategy requires an 'event_time' model config, and runs in batches only"
            )
        if node["config"].get("unique_key"):
            self.warn_once(
                f"{node['unique_id']}: a batch replaces the rows of its time; unique_key has no part in that"
            )
        return condition

    def _own_table(self, sql: str, session: Session) -> Build | None:
        """What a node's statement builds, if it makes the node's table: so do materializations that a project brings."""
        known = getattr(self.get_macro_resolver(), "nodes", {})
        node = known.get(get_node_info().get("unique_id"))
        if node is None or "create" not in sql.lower() or node.config.materialized in _OWN_MATERIALIZATIONS:
            return None
        said = {"resource_type": str(node.resource_type), "alias": node.alias, "schema": node.schema}
        with dbt_errors():
            found = nodes.own_table(sql, said, self._database)
            if found is None:
                return None
            name, query, replaces = found
            if not replaces and session.lookup(name) is not None:
                return None
            return Build(
                name=name,
                sql=query,
                node=node.unique_id,
                rebuild=not self.credentials.reuses(),
                resources=demands.resources(node.config),
                external_access=demands.flag(node.config, "external_access"),
                **self._reuse(node.config, node.depends_on.to_dict()),
            )

    def _build(self, build: Build) -> Built:
        """Run a build; dbt's log shows its SQL as it does that of statements."""
        for sql in (*build.setup, build.sql, *build.statements):
            if sql:
                self._log(sql)
        name = get_node_info().get("node_name") or str(build.name)

        def tell(event: Progress | LogLine) -> None:
            logger.info(f"{name}: {event}")

        built = self._session().build(build, tell)
        self.invocation.asked(None if built.why_not else build)
        return built

    def _log(self, sql: str) -> None:
        name = self.connections.get_thread_connection().name or ""
        fire_event(SQLQuery(conn_name=name, sql=sql, node_info=get_node_info()))

    def _create(
        self,
        node: Mapping[str, Any],
        relation: BaseRelation,
        code: str,
        sql_header: str | None,
        full_refresh: bool = False,
    ) -> Build:
        python = node.get("language") == "python"
        source = None
        if python:
            path = str(Path(node.get("root_path") or "", node["original_file_path"]))
            source = PythonSource(
                code=code,
                path=path,
                line=nodes.lines_before(path),
                reads=(*nodes.python_reads(code), str(relation)),
                **demands.python_needs(node["config"]),
            )
        return Build(
            name=self._name(relation),
            sql=None if python else self._commented(code),
            python=source,
            setup=_setup(sql_header),
            constraints=promises.constraints(node),
            node=node["unique_id"],
            resources=demands.resources(node["config"]),
            external_access=demands.flag(node["config"], "external_access"),
            rebuild=full_refresh or not self.credentials.reuses(),
            provenance=_provenance(node),
            **self._reuse(node["config"], node.get("depends_on") or {}),
            **nodes.layout(node),
            **nodes.docs(node),
        )

    def _reuse(self, config: Mapping[str, Any], depends_on: Mapping[str, Any]) -> dict[str, Any]:
        """What a node says of its reuse, with the files that it reads as sources."""
        said, known = demands.reuse(config), self.get_macro_resolver()
        names = depends_on.get("nodes") or ()
        files = external_sources.read_by(names, getattr(known, "nodes", {}), getattr(known, "sources", {}))
        more = tuple(file for file in files if file not in said["files"])
        return {**said, "files": (*said["files"], *more), "more_files": not said["files"]}

    def _commented(self, sql: str) -> str:
        return str(self.connections._add_query_comment(sql))

    def _respond(self, built: Built, verb: str = "CREATE TABLE") -> AdapterResponse:
        if built.reused is not None:
            return ReusedResponse.of(built.reused)
        rows = max(built.rows_written, built.rows_deleted)
        return AdapterResponse(_message=f"{verb} {rows}", code=verb, rows_affected=rows)

    @available.parse(lambda *a, **k: None)
    def clone_source(self, relation: BaseRelation) -> BaseRelation:
        """What ``dbt clone`` makes a clone of: what stands at a relation of the state that ``--state`` names."""
        with dbt_errors():
            branch = self.credentials.target_branch()
            return cloning.source(self._session(), relation, database=self._database, branch=branch)


def _setup(sql_header: str | None) -> tuple[str, ...]:
    return tuple(statements_of(sql_header)) if sql_header else ()


def statements_of(sql: str) -> Sequence[str]:
    """The statements of a text, each as it is written."""
    from dbt.adapters.lakehouse.run.tokens import split

    return split(sql)


def _provenance(node: Mapping[str, Any]) -> dict[str, Any]:
    allowed = demands.allow(node["config"])
    return {
        "raw_code": node.get("raw_code"),
        "path": node.get("original_file_path"),
        **({"allow": list(allowed)} if allowed else {}),
    }
