"""The adapter: dbt's verbs on a run of the lake."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.base.impl import ConstraintSupport
from dbt.adapters.base.meta import available
from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.capability import Capability, CapabilityDict, CapabilitySupport, Support
from dbt.adapters.contracts.connection import AdapterResponse
from dbt.adapters.contracts.relation import RelationType
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.events.types import SQLQuery
from dbt.adapters.sql import SQLAdapter
from dbt_common.contracts.constraints import ConstraintType
from dbt_common.events.contextvars import get_node_info
from dbt_common.events.event_manager_client import add_callback_to_manager
from dbt_common.events.functions import fire_event
from dbt_common.exceptions import CompilationError, DbtRuntimeError

from dbt.adapters.lakehouse import (
    attached_relations,
    catalog_queries,
    cloning,
    demands,
    external_sources,
    materialized_views,
    nested_columns,
    nodes,
    plugin_sources,
    project_functions,
    promises,
    seeds,
    taps,
)
from dbt.adapters.lakehouse.catalog.model import TableEntry, ViewEntry, kind_of
from dbt.adapters.lakehouse.catalogs import DbtCatalogs
from dbt.adapters.lakehouse.column import LakehouseColumn
from dbt.adapters.lakehouse.connections import LakehouseConnectionManager, ReusedResponse, dbt_errors
from dbt.adapters.lakehouse.credentials import LakehouseCredentials
from dbt.adapters.lakehouse.errors import ConfigError, SqlError
from dbt.adapters.lakehouse.events import Invocation
from dbt.adapters.lakehouse.external import ExternalModels
from dbt.adapters.lakehouse.freshness import MetadataFreshness
from dbt.adapters.lakehouse.jobs.function import SUFFIX
from dbt.adapters.lakehouse.jobs.job import PythonNeeds
from dbt.adapters.lakehouse.lake.base import Build, Built, Lake, LogLine, Name, Progress, PythonSource, Session
from dbt.adapters.lakehouse.relation import LakehouseRelation
from dbt.adapters.lakehouse.run.values import View
from dbt.adapters.lakehouse.whereabouts import Whereabouts

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


class LakehouseAdapter(ExternalModels, MetadataFreshness, DbtCatalogs, SQLAdapter):
    """dbt's adapter for ``type: lakehouse``."""

    ConnectionManager = LakehouseConnectionManager
    Relation = LakehouseRelation
    Column = LakehouseColumn
    connections: LakehouseConnectionManager

    CONSTRAINT_SUPPORT = {  # noqa: RUF012 # declared by dbt
        ConstraintType.check: ConstraintSupport.ENFORCED,
        ConstraintType.not_null: ConstraintSupport.ENFORCED,
        ConstraintType.unique: ConstraintSupport.ENFORCED,
        ConstraintType.primary_key: ConstraintSupport.ENFORCED,
        ConstraintType.foreign_key: ConstraintSupport.ENFORCED,
    }
    MAX_SCHEMA_METADATA_RELATIONS = 100_000  # they are looked up, not asked for in SQL
    _capabilities = CapabilityDict(
        {
            Capability.SchemaMetadataByRelations: CapabilitySupport(support=Support.Full),
            Capability.GetCatalogForSingleRelation: CapabilitySupport(support=Support.Full),
            Capability.TableLastModifiedMetadata: CapabilitySupport(support=Support.Full),
            Capability.TableLastModifiedMetadataBatch: CapabilitySupport(support=Support.Full),
            Capability.MicrobatchConcurrency: CapabilitySupport(support=Support.Full),
            Capability.CatalogsV2: CapabilitySupport(support=Support.Full),
        }
    )

    def __init__(self, config: Any, mp_context: SpawnContext) -> None:
        super().__init__(config, mp_context)
        self._lake: Lake | None = None
        self._lake_lock = threading.Lock()
        self.warned: set[str] = set()
        self.invocation = Invocation(self.credentials, self.lake, self._target_path, self._python_needs)
        self.connections.session_source = self.invocation.session
        self.connections.asked = self.invocation.asked
        self.connections.own_table = self._own_table
        # `dbt debug` has a profile and no project.
        root, name, packages = (
            str(getattr(config, key, "")) for key in ("project_root", "project_name", "packages_install_path")
        )
        self._whereabouts = Whereabouts(self.get_macro_resolver, Path(root), name, packages)
        self.connections.placed = self._placed
        add_callback_to_manager(self.invocation.on_event)
        if self.invocation.runs_nodes:
            taps.install(LakehouseAdapter)
        if (self.credentials.warehouse or "s3:").partition(":")[0] != "s3":
            # What another process left is looked for where that costs nothing; else by runs with such models alone.
            self.invocation.when_published = self.finish_exports

    # the lake and the run

    @property
    def credentials(self) -> LakehouseCredentials:
        """The profile's output."""
        credentials: LakehouseCredentials = self.config.credentials
        return credentials

    def lake(self) -> Lake:
        """The lake, opened on first use."""
        with self._lake_lock:
            if self._lake is None:
                self._lake = self._open_lake()
            return self._lake

    def _open_lake(self) -> Lake:
        # Imported late: parsing a project needs neither DuckDB nor a catalog.
        service = self.credentials.service_settings()
        if service is not None:
            from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake

            return RemoteLake(service)
        from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake

        threads = getattr(self.config, "threads", None) or 1
        plugin_sources.declare_all(getattr(self.get_macro_resolver(), "sources", {}), self.config)
        return EmbeddedLake.open(self.credentials.lake_settings(threads))

    def _placed(self, message: str) -> str:
        return self._whereabouts.placed(message, get_node_info().get("unique_id"))

    def _target_path(self) -> Path:
        """Where the results of the last invocation are, or those that ``--state`` names."""
        import click

        context = click.get_current_context(silent=True)
        state = (context.params.get("state") if context is not None else None) or None
        return Path(state or Path(self.config.project_root) / self.config.target_path)

    def _python_needs(self) -> tuple[PythonNeeds, ...]:
        """What the Python models need that dbt has selected, each once, as far as it is known before they run."""
        from dbt import selected_resources

        known = getattr(self.get_macro_resolver(), "nodes", {})
        found: dict[PythonNeeds, None] = {}
        for name in selected_resources.SELECTED_RESOURCES:
            node = known.get(name)
            if node is not None and getattr(node, "language", None) == "python":
                # What is wrong with a configuration is said when its model runs.
                with contextlib.suppress(ConfigError):
                    needs = demands.python_needs(node.config)
                    found[PythonNeeds(packages=needs["packages"], python_version=needs["python_version"])] = None
        return tuple(one for one in found if one.packages or one.python_version)

    @classmethod
    def type(cls) -> str:
        """The name in profiles."""
        return "lakehouse"

    @classmethod
    def quote(cls, identifier: str) -> str:
        """A name as SQL takes it whatever it holds."""
        return '"' + identifier.replace('"', '""') + '"'

    @classmethod
    def date_function(cls) -> str:
        """SQL for now."""
        return "now()"

    @classmethod
    def is_cancelable(cls) -> bool:
        """Running jobs can be interrupted."""
        return True

    def cancel_open_connections(self) -> Any:
        """Interrupt every thread's job."""
        self.invocation.cancel()
        return super().cancel_open_connections()  # type: ignore[no-untyped-call]

    def cleanup_connections(self) -> None:
        """Give back all workers and close the lake; it opens again if it is wanted again."""
        super().cleanup_connections()
        if not self.invocation.in_command:
            self.invocation.forget()
            with self._lake_lock:
                lake, self._lake = self._lake, None
            if lake is not None:
                lake.close()

    @contextlib.contextmanager
    def connection_named(
        self, name: str, query_header_context: Any = None, should_release_connection: bool = True
    ) -> Iterator[None]:
        """As in dbt; an operation's run is published here, since dbt tells of no other end of it."""
        operation = name.startswith("macro_") or name == "inline_query"
        try:
            with super().connection_named(name, query_header_context, should_release_connection):
                yield
        except BaseException:
            if operation:
                self.invocation.abandon(f"{name} failed")
            raise
        if operation:
            self.invocation.publish()

    def debug_query(self) -> None:
        """``dbt debug``: try everything for real."""
        with dbt_errors():
            checks = self.lake().check()
        for check in checks:
            logger.info(f"  {check.name}: {'OK' if check.ok else 'ERROR'} {check.detail}")
        failed = [check for check in checks if not check.ok]
        if failed:
            raise DbtRuntimeError("; ".join(f"{check.name}: {check.detail}" for check in failed))
        self.execute("select 1 as id")

    # schemas and relations: answered by the catalog, without a query

    @available.parse(lambda *a, **k: [])
    def list_schemas(self, database: str) -> list[str]:
        """Schemas of the run's state."""
        with dbt_errors():
            session, name = self._session(), (database or self._database).strip('"')
            return attached_relations.schemas(session, name) or session.schemas(name)

    @available.parse(lambda *a, **k: False)
    def check_schema_exists(self, database: str, schema: str) -> bool:
        """Whether a schema exists."""
        return schema.lower() in (name.lower() for name in self.list_schemas(database))

    def create_schema(self, relation: BaseRelation) -> None:
        """Create a schema if it does not exist."""
        with dbt_errors():
            self._session().execute(f"CREATE SCHEMA IF NOT EXISTS {relation.without_identifier()}")
        self.commit_if_has_connection()

    def drop_schema(self, relation: BaseRelation) -> None:
        """Drop a schema and what it holds."""
        with dbt_errors():
            self._session().execute(f"DROP SCHEMA IF EXISTS {relation.without_identifier()} CASCADE")
        self.commit_if_has_connection()
        self.cache.drop_schema(relation.database, relation.schema)

    def list_relations_without_caching(self, schema_relation: BaseRelation) -> list[BaseRelation]:
        """Tables and views of a schema."""
        database = schema_relation.database or self._database
        with dbt_errors():
            beside = attached_relations.relations(self._session(), database, schema_relation.schema)
            if beside is not None:
                return beside
            entries = self._session().relations(database, schema_relation.schema)
        return [LakehouseRelation.of(database, entry) for entry in project_functions.listed(entries)]

    def get_columns_in_relation(self, relation: BaseRelation) -> list[LakehouseColumn]:
        """Columns of a table from the catalog; of a view, or of a temporary relation, as DuckDB sees it now."""
        with dbt_errors():
            session = self._session()
            beside = attached_relations.columns(session, self._name(relation)) if relation.schema else None
            if beside is not None:
                return beside
            in_lake = relation.schema and getattr(relation, "external", None) is None
            entry = session.lookup(self._name(relation)) if in_lake else None
            if isinstance(entry, TableEntry):
                return [LakehouseColumn.typed(column.name, column.type) for column in entry.columns]
            if in_lake and entry is None:
                # Unit tests ask so for the columns of a source.
                file = self._source_file(relation.schema, relation.identifier)
                if file is None:
                    return []
                relation = file
            columns = session.describe(f"SELECT * FROM {relation}")
            return [LakehouseColumn.typed(column.name, column.type) for column in columns]

    def drop_relation(self, relation: BaseRelation) -> None:
        """Drop a table or view, whichever it is."""
        self.cache_dropped(relation)
        with dbt_errors():
            session = self._session()
            entry = session.lookup(self._name(relation)) if relation.schema else None
            kind = "TABLE" if entry is None else kind_of(entry).replace("_", " ").upper()
            kind = "FUNCTION" if relation.type == RelationType.Function else kind
            self.invocation.asked(None)
            session.execute(f"DROP {kind} IF EXISTS {relation} CASCADE")

    def rename_relation(self, from_relation: BaseRelation, to_relation: BaseRelation) -> None:
        """Rename a table or view within its schema."""
        self.cache_renamed(from_relation, to_relation)
        with dbt_errors():
            name = '"' + (to_relation.identifier or "").replace('"', '""') + '"'
            self.invocation.asked(None)
            self._session().execute(f"ALTER TABLE {from_relation} RENAME TO {name}")

    def truncate_relation(self, relation: BaseRelation) -> None:
        """Delete all rows."""
        with dbt_errors():
            self.invocation.asked(None)
            self._session().execute(f"TRUNCATE TABLE {relation}")

    def expand_column_types(self, goal: BaseRelation, current: BaseRelation) -> None:
        """DuckDB's text has no length to expand."""

    @available.parse(lambda *a, **k: [])
    def get_column_schema_from_query(self, sql: str) -> list[LakehouseColumn]:
        """Columns a SELECT would give, without running it. dbt may put a model's SQL header before it."""
        with dbt_errors(self._placed):
            *setup, query = _statements(sql)
            columns = self._session().describe(query, tuple(setup))
        return [LakehouseColumn.typed(column.name, column.type) for column in columns]

    def get_rows_different_sql(
        self,
        relation_a: BaseRelation,
        relation_b: BaseRelation,
        column_names: list[str] | None = None,
        except_operator: str = "EXCEPT",
    ) -> str:
        """SQL that counts the rows that differ between two relations."""
        names = column_names or [column.name for column in self.get_columns_in_relation(relation_a)]
        columns = ", ".join(sorted(self.quote(name) for name in names))
        return catalog_queries.rows_different_sql(columns, str(relation_a), str(relation_b), except_operator)

    def _get_one_catalog(
        self, information_schema: Any, schemas: set[str], used_schemas: frozenset[tuple[str, str]]
    ) -> agate.Table:
        with dbt_errors():
            session, database = self._session(), str(information_schema.database)
            beside = attached_relations.catalog_of_schemas(session, database, schemas)
            return catalog_queries.catalog(session, database, schemas) if beside is None else beside

    def _get_one_catalog_by_relations(
        self, information_schema: Any, relations: Iterable[Any], used_schemas: frozenset[tuple[str, str]]
    ) -> agate.Table:
        wanted = [self._name(relation) for relation in relations]
        with dbt_errors():
            beside = attached_relations.catalog(self._session(), wanted)
            return catalog_queries.catalog_of(self._session(), wanted) if beside is None else beside

    def get_catalog_for_single_relation(self, relation: BaseRelation) -> Any:
        """Catalog information of one relation."""
        with dbt_errors():
            return catalog_queries.single(self._session(), self._name(relation))

    # materializations: one call each

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
            statements = tuple(_statements(rendered))
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
            node=f"{build.node} (its rows)",
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
                statements=tuple(_statements(statements)),
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

    def submit_python_job(self, parsed_model: dict[str, Any], compiled_code: str) -> AdapterResponse:
        """A Python model of a materialization that is not ours: its table is made under the model's name."""
        relation = self.Relation.create(
            database=parsed_model.get("database") or self._database,
            schema=parsed_model["schema"],
            identifier=parsed_model["alias"],
            type=RelationType.Table,
        )
        response: AdapterResponse = self.build_table(parsed_model, relation, compiled_code)
        return response

    # what inherited macros ask

    @available.parse(lambda *a, **k: "")
    def lakehouse(self, *words: Any, **options: Any) -> str:
        """Run a command of `lakehouse` on this target's lake; what it prints. Raises where its exit code says so.

        ``options`` are the command's, by name: ``adapter.lakehouse("merge", "dev", into="main", dry_run=true)``.
        """
        from dbt.adapters.lakehouse.cli import within

        with dbt_errors():
            code, text = within.run(self.lake(), self.credentials.as_profile(), words, options)
        if code:
            raise DbtRuntimeError(f"`lakehouse {words[0]}` says:\n{text}")
        return text

    @available
    def no_rows(self) -> agate.Table:
        """What a statement without rows gives; dbt would make it anew for every node."""
        return _no_rows()

    @available
    def valid_incremental_strategies(self) -> list[str]:
        """Incremental strategies that are known here."""
        return list(nodes.STRATEGIES)

    @available
    def warn_once(self, message: str | None) -> None:
        """Warn once an invocation."""
        if message and message not in self.warned:
            self.warned.add(message)
            logger.warning(message)

    @available
    def contract_columns(self, columns: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The columns of a contract, with those that are named within others (``address.city``) in the types of these."""
        with dbt_errors():
            return nested_columns.contract_columns(columns)

    @available.parse(lambda *a, **k: [])
    def documented_names(self, relation: BaseRelation) -> list[str]:
        """Names of a relation's columns, and of the columns within them."""
        columns = self.get_columns_in_relation(relation)
        within = (path for column in columns for path, _ in nested_columns.paths(column.name, column.dtype))
        return [*(column.name for column in columns), *within]

    @available
    def note_grants(self, grants: Mapping[str, Any]) -> None:
        """Say once what grants cannot do here; dbt applies them."""
        if self.credentials.service_settings() is None:
            self.warn_once(
                "grants are recorded in the lake, and nobody holds users to them before a service does: "
                "see docs/security.md, section Grants"
            )
        elif rest := sorted({name.lower() for name in grants} - {"select"}):
            self.warn_once(f"grants of {', '.join(rest)} are recorded and give nothing: roles say who writes what")

    @available
    def escape_sql_string(self, value: Any) -> str:
        """For use between single quotes."""
        return str(value).replace("'", "''")

    @available
    def get_binding_char(self) -> str:
        """DuckDB's parameter mark."""
        return "?"

    @available
    def is_motherduck(self) -> bool:
        """dbt-duckdb asks."""
        return False

    @available
    def is_ducklake(self, relation: Any) -> bool:
        """dbt-duckdb asks."""
        return False

    @available
    def use_ducklake_table_workarounds(self, relation: Any) -> bool:
        """dbt-duckdb asks."""
        return False

    @available
    def disable_transactions(self) -> bool:
        """dbt-duckdb asks; a run is the transaction."""
        return True

    @available
    def catalog_supports_foreign_keys(self, database: str) -> bool:
        """dbt-duckdb asks; Iceberg has none."""
        return False

    @available
    def existing_key_constraint_types(self, relation: Any) -> list[str]:
        """dbt-duckdb asks; only foreign keys would care."""
        return []

    @available
    def ensure_transaction(self) -> None:
        """dbt-duckdb asks; a run is the transaction."""

    @available
    def batch_id_for_model(self, model: Any) -> str:
        """dbt-duckdb asks for names of temporary tables that are not needed here."""
        return ""

    def _session(self) -> Session:
        return self.connections.session()

    def _name(self, relation: BaseRelation) -> Name:
        return Name(
            database=relation.database or self._database,
            schema=relation.schema or "",
            name=relation.identifier or "",
        )

    @property
    def _database(self) -> str:
        return self.credentials.database


@functools.cache
def _no_rows() -> agate.Table:
    from dbt_common.clients import agate_helper

    return agate_helper.empty_table()  # type: ignore[no-untyped-call]


def _setup(sql_header: str | None) -> tuple[str, ...]:
    return tuple(_statements(sql_header)) if sql_header else ()


def _statements(sql: str) -> Sequence[str]:
    from dbt.adapters.lakehouse.run.tokens import split

    return split(sql)


def _provenance(node: Mapping[str, Any]) -> dict[str, Any]:
    allowed = demands.allow(node["config"])
    return {
        "raw_code": node.get("raw_code"),
        "path": node.get("original_file_path"),
        **({"allow": list(allowed)} if allowed else {}),
    }
