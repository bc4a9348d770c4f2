"""The adapter: dbt's verbs on a run of the lake."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterable, Iterator, Mapping
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
from dbt.adapters.sql import SQLAdapter
from dbt_common.contracts.constraints import ConstraintType
from dbt_common.events.contextvars import get_node_info
from dbt_common.events.event_manager_client import add_callback_to_manager
from dbt_common.exceptions import DbtRuntimeError

from dbt.adapters.lakehouse import (
    attached_relations,
    catalog_queries,
    demands,
    nested_columns,
    nodes,
    plugin_sources,
    project_functions,
    quoting,
    taps,
)
from dbt.adapters.lakehouse.catalog.model import TableEntry, kind_of
from dbt.adapters.lakehouse.catalogs import DbtCatalogs
from dbt.adapters.lakehouse.column import LakehouseColumn
from dbt.adapters.lakehouse.connections import LakehouseConnectionManager, dbt_errors
from dbt.adapters.lakehouse.credentials import LakehouseCredentials
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.events import Invocation
from dbt.adapters.lakehouse.external import ExternalModels
from dbt.adapters.lakehouse.freshness import MetadataFreshness
from dbt.adapters.lakehouse.inherited import AnswersToInheritedMacros
from dbt.adapters.lakehouse.jobs.job import PythonNeeds
from dbt.adapters.lakehouse.lake.base import Lake, Name, Session
from dbt.adapters.lakehouse.materializations import Materializations, statements_of
from dbt.adapters.lakehouse.relation import LakehouseRelation
from dbt.adapters.lakehouse.whereabouts import Whereabouts

if TYPE_CHECKING:
    import agate

logger = AdapterLogger("Lakehouse")


class LakehouseAdapter(
    Materializations, ExternalModels, MetadataFreshness, DbtCatalogs, AnswersToInheritedMacros, SQLAdapter
):
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
        return quoting.quote(identifier)

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
            name = self.quote(to_relation.identifier or "")
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
            *setup, query = statements_of(sql)
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

    # what our own macros ask

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
