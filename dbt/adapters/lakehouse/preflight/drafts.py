"""From dbt's nodes to drafts: what each makes, of which SQL, and what it may depend on besides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dbt_common.exceptions import CompilationError

from dbt.adapters.lakehouse import demands, nested_columns, nodes
from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError
from dbt.adapters.lakehouse.hand_calls import called_by_hand
from dbt.adapters.lakehouse.jobs.job import Place
from dbt.adapters.lakehouse.preflight import hooks
from dbt.adapters.lakehouse.preflight.compiling import Coming, Compiling, DependsOnResults
from dbt.adapters.lakehouse.run.values import Draft, Name
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

OWN_PACKAGES = ("dbt", "dbt_duckdb", "dbt_lakehouse")
"""Packages whose materializations and macros are known."""

RESULTS = "their SQL depends on query results"
HOOKS = "hooks may prepare what they read"
CUSTOM = "their materialization is the project's own"
PYTHON = "what their Python code returns is not known"
UNREADABLE = "they could not be compiled ahead"
FUNCTIONS = "they call functions that this run makes"
LARGE = "their seed file is large"

_KINDS: dict[str, Literal["table", "view"]] = {
    "view": "view",
    "table": "table",
    "incremental": "table",
    "materialized_view": "table",
    "external": "table",
}
_OWN_MERGE = re.compile(r"get_(incremental_)?(delete_insert|microbatch)\w*")
_LARGEST_SEED = 1 << 20
_PREPARING = re.compile(
    r"\b(create\s+(or\s|temp|macro|function|table|view|type|schema|sequence)|attach\s|alter\s+table|install\s+\w|load\s+\w)",
    re.IGNORECASE,
)
"""In Jinja that runs statements: what may make something that other nodes need."""
_FIRST_SNAPSHOT = """
{%- set strategy_macro = strategy_dispatch(config.get('strategy')) -%}
{%- set strategy = strategy_macro(model, 'snapshotted_data', 'source_data', model['config'], false) -%}
{{ build_snapshot_table(strategy, model['compiled_code']) }}"""


class CannotBeTold(Exception):
    """Why nothing can be said of a node: an answer, not an error."""


class Drafting:
    """Makes drafts of the nodes of one run."""

    def __init__(
        self,
        adapter: LakehouseAdapter,
        config: Any,
        manifest: Any,
        waiting: Iterable[Any],
        functions: Iterable[str] = (),
    ) -> None:
        """``functions`` are those (by unique id) that this run makes, too."""
        self._adapter, self._config, self._manifest = adapter, config, manifest
        waiting = list(waiting)
        self._known: dict[str, bool] = {}
        self._functions = frozenset(functions)
        self.coming = {
            place(node): Coming(node=node.unique_id, kind=self._kind(node)) for node in waiting if makes(node)
        }
        # Then what is missing may be made by somebody before it is needed.
        self.prepared = any(hooks.prepares(node) or (makes(node) and self._kind(node) is None) for node in waiting)
        self.compiled: dict[str, Any] = {}
        self._rewritten = any(
            macro.package_name not in OWN_PACKAGES and _OWN_MERGE.search(macro.name)
            for macro in manifest.macros.values()
        )

    def draft(self, node: Any, compiling: Compiling) -> Draft:
        """What a node will make. Raises dbt's ``CompilationError`` if its code is none."""
        name = name_of(node) if makes(node) else None
        try:
            made = self._made(node, compiling)
        except CompilationError as error:
            if _is_microbatch(node):
                # A batch knows more than the model.
                return Draft(node=node.unique_id, name=name, why=f"{UNREADABLE}: {str(error.msg).splitlines()[0]}")
            raise
        except DependsOnResults:
            self.prepared = self.prepared or any(_PREPARING.search(text) for text in self._templates(node))
            return Draft(node=node.unique_id, name=name, why=RESULTS)
        except CannotBeTold as error:
            return Draft(node=node.unique_id, name=name, why=str(error))
        except Exception as error:
            said = (str(error).splitlines() or [""])[0]
            return Draft(node=node.unique_id, name=name, why=f"{UNREADABLE}: {type(error).__name__}: {said}")
        return replace(made, name=name)

    def _templates(self, node: Any) -> list[str]:
        """The node's own Jinja, and that of all macros behind it."""
        found = {str(name): "" for name in node.depends_on.macros}
        todo = list(found)
        while todo:
            macro = self._manifest.macros.get(todo.pop())
            if macro is not None:
                found[macro.unique_id] = macro.macro_sql
                todo += [name for name in macro.depends_on.macros if found.setdefault(name, "") == ""]
        return [node.raw_code, *found.values()]

    def _made(self, node: Any, compiling: Compiling) -> Draft:
        if self.calls_coming(node):
            raise CannotBeTold(FUNCTIONS)
        if (makes(node) or str(node.resource_type) == "test") and not self._is_known(node):
            raise CannotBeTold(CUSTOM)
        if hooks.prepares(node):
            raise CannotBeTold(HOOKS)
        match str(node.resource_type):
            case "seed":
                return self._seed(node, compiling)
            case "snapshot":
                return self._snapshot(node, compiling)
            case "test":
                return self._test(node, compiling)
            case _:
                return self._model(node, compiling)

    def calls_coming(self, node: Any) -> bool:
        """Whether a node calls a function that this run makes, itself or in an ephemeral model that is a part of its code."""
        if called_by_hand(node, (self._manifest.functions[name] for name in self._functions), self._manifest):
            return True
        named = set(getattr(node.depends_on, "nodes", ()))
        parts = (self._manifest.nodes.get(name) for name in named)
        return not self._functions.isdisjoint(named) or any(
            self.calls_coming(part) for part in parts if part is not None and part.is_ephemeral_model
        )

    def _is_known(self, node: Any) -> bool:
        """Whether what a node's materialization does is known here."""
        name = node.get_materialization()
        if name not in self._known:
            macro = self._manifest.find_materialization_macro_by_name(
                self._config.project_name, name, self._adapter.type()
            )
            made = str(node.resource_type) != "model" or name in _KINDS
            self._known[name] = made and macro is not None and macro.package_name in OWN_PACKAGES
        return self._known[name]

    def _kind(self, node: Any) -> Literal["table", "view"] | None:
        """What stands there once a model, seed or snapshot ran; None if that is not known."""
        return _KINDS.get(node.get_materialization(), "table") if self._is_known(node) else None

    # kinds of nodes

    def _model(self, node: Any, compiling: Compiling) -> Draft:
        compiled = self._compile(node, compiling)
        if node.language == "python":
            return self._python(compiled)
        draft = Draft(
            node=node.unique_id,
            makes=_KINDS[node.get_materialization()],
            sql=compiled.compiled_code,
            setup=_header(compiled),
            contract=_contract(compiled),
            outside=self._external(compiled),
        )
        if node.get_materialization() != "incremental" or self._anew(node):
            return draft
        strategy = node.config.get("incremental_strategy") or "delete+insert"
        plain = strategy in ("append", "insert_overwrite") or (
            strategy in ("delete+insert", "microbatch") and not self._rewritten
        )
        try:
            change = nodes.schema_change(compiled.to_dict())
        except LakehouseError as error:
            raise CannotBeTold(str(error)) from error
        return replace(draft, extends=True, on_schema_change=change, all_columns=plain)

    def _python(self, node: Any) -> Draft:
        columns = list(node.columns.values())
        if node.config.get("declared_columns") and columns and all(column.data_type for column in columns):
            terms = ", ".join(f"CAST(NULL AS {c.data_type}) AS {self._adapter.quote(c.name)}" for c in columns)
            return Draft(node=node.unique_id, makes="table", sql=f"SELECT {terms}")
        return Draft(
            node=node.unique_id,
            makes="table",
            python=node.compiled_code,
            python_reads=nodes.python_reads(node.compiled_code),
        )

    def _seed(self, node: Any, compiling: Compiling) -> Draft:
        path = Path(node.root_path or self._config.project_root, node.original_file_path)
        if path.stat().st_size > _LARGEST_SEED:
            raise CannotBeTold(LARGE)
        columns = self._adapter.seed_columns(node.config.to_dict(), compiling.seed(node))
        quoted = node.config.get("quote_columns") is not False
        terms = (f"CAST(NULL AS {kind}) AS {self._adapter.quote(name) if quoted else name}" for name, kind in columns)
        return Draft(node=node.unique_id, makes="table", sql=f"SELECT {', '.join(terms)}")

    def _snapshot(self, node: Any, compiling: Compiling) -> Draft:
        compiled = self._compile(node, compiling)
        there = self._adapter.get_relation(node.database, node.schema, node.alias)
        sql = compiled.compiled_code if there is not None else compiling.render(_FIRST_SNAPSHOT, compiled)
        return Draft(
            node=node.unique_id,
            makes="table",
            sql=sql,
            setup=_header(compiled),
            extends=True,
            on_schema_change="append_new_columns",
            outside=self._external(compiled),
        )

    def _test(self, node: Any, compiling: Compiling) -> Draft:
        compiled = self._compile(node, compiling)
        config = node.config
        limit = f"\nlimit {config.limit}" if config.limit else ""
        sql = (
            f"select {config.fail_calc} as failures, {config.fail_calc} {config.warn_if} as should_warn, "
            f"{config.fail_calc} {config.error_if} as should_error from (\n{compiled.compiled_code}{limit}\n) "
            "dbt_internal_test"
        )
        return Draft(node=node.unique_id, sql=sql, setup=_header(compiled), outside=self._external(compiled))

    def _compile(self, node: Any, compiling: Compiling) -> Any:
        compiled = self.compiled[node.unique_id] = compiling.node(node)
        return compiled

    def _external(self, node: Any) -> bool:
        return demands.flag(node.config, "external_access")

    def _anew(self, node: Any) -> bool:
        """Whether an incremental model is built from nothing even if its table is there."""
        own = node.config.get("full_refresh")
        refresh = getattr(self._config.args, "FULL_REFRESH", False) if own is None else own
        return bool(refresh) and not self._adapter.invocation.has_batches(node.unique_id)


def makes(node: Any) -> bool:
    """Whether a relation stands there once the node ran."""
    return str(node.resource_type) in ("model", "seed", "snapshot") and not node.is_ephemeral_model


def name_of(node: Any) -> Name:
    """The relation that a node makes."""
    return Name(database=node.database, schema=node.schema, name=node.alias)


def place(node: Any) -> Place:
    """The same, as DuckDB compares names."""
    return node.database.lower(), node.schema.lower(), node.alias.lower()


def _contract(node: Any) -> tuple[Column, ...]:
    if not getattr(node.config.get("contract"), "enforced", False):
        return ()
    said = {name: column.to_dict() for name, column in node.columns.items()}
    try:
        columns = nested_columns.contract_columns(said).values()
    except ConfigError as error:
        raise CannotBeTold(str(error)) from error
    if not all(column["data_type"] for column in columns):
        raise CannotBeTold("their contracts have columns without a type")
    return tuple(Column(name=column["name"], type=column["data_type"]) for column in columns)


def _header(node: Any) -> tuple[str, ...]:
    statements, harmless = hooks.header(node.config.get("sql_header"))
    if not harmless:
        raise CannotBeTold("statements run before them")
    return statements


def _is_microbatch(node: Any) -> bool:
    return getattr(node.config, "incremental_strategy", None) == "microbatch"
