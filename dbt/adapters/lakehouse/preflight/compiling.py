"""dbt's compiler, used before the run: nothing is written or logged, no query runs, and what it is told of the lake is watched.

A node's SQL is known ahead if nothing that it asked for can be another answer when it runs. The catalog's answers about
relations that no node of this run makes stay what they are; so does what a node asks about its own table, which nobody touches
before it. Of relations that will be made it is known that they will be there, and of what kind.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbt.adapters.contracts.relation import RelationType
from dbt_common.events import event_manager_client
from dbt_common.events.event_manager import EventManager

from dbt.adapters.lakehouse.column import LakehouseColumn
from dbt.adapters.lakehouse.jobs.job import Place
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter


class DependsOnResults(BaseException):
    """The node asks for what only a run tells: a way out of dbt's compiler, not an error.

    No ``Exception``, since Jinja's are made dbt's own, and then say nothing.
    """


@dataclass(frozen=True, kw_only=True)
class Coming:
    """A relation that a node of the run makes: of which kind, and with which columns, as far as that is known."""

    node: str
    kind: str | None
    columns: tuple[Column, ...] = ()


class Compiling:
    """Compiles nodes of one manifest. Use it as a context: within it, dbt is silent and the adapter watched."""

    def __init__(self, adapter: LakehouseAdapter, config: Any, manifest: Any, coming: Mapping[Place, Coming]) -> None:
        self._adapter, self._config, self._manifest = adapter, config, manifest
        self.coming = coming
        self._compiler = _compiler(config)
        self._node = ""

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        """All that is compiled is compiled within this."""
        with (
            _silent(),
            _as_before(self._adapter),
            _own_ephemeral(self._manifest),
            _Watch(self._adapter, self._ask).watching(),
        ):
            yield

    def node(self, node: Any, manifest: Any = None) -> Any:
        """A compiled copy of a node. Raises ``DependsOnResults``, or what dbt raises."""
        self._node = node.unique_id
        return self._compiler.compile_node(_copy(node), manifest or self._manifest, {}, write=False)

    def render(self, template: str, node: Any) -> str:
        """A template in a compiled node's own context."""
        from dbt.clients import jinja

        self._node = node.unique_id
        context = self._compiler._create_node_context(node, self._manifest, {})
        return str(jinja.get_rendered(template, context, node))

    def seed(self, node: Any) -> Any:
        """A seed's rows, as its materialization will read them."""
        from dbt.context.providers import generate_runtime_model_context

        self._node = node.unique_id
        return generate_runtime_model_context(node, self._config, self._manifest)["load_agate_table"]()

    def _ask(self, place: Place) -> Coming | None:
        """Who makes a relation before the present node runs."""
        coming = self.coming.get(place)
        return coming if coming is not None and coming.node != self._node else None


def _compiler(config: Any) -> Any:
    from dbt.compilation import Compiler

    class Quiet(Compiler):
        def _write_node(self, node: Any, split_suffix: str | None = None) -> Any:
            del split_suffix
            return node

    return Quiet(config)


def _copy(node: Any) -> Any:
    """A copy in which dbt's compiler can write without touching the node."""
    own = copy.copy(node)
    if hasattr(node, "extra_ctes"):
        own.extra_ctes = list(node.extra_ctes)
    if any(_type(constraint) == "foreign_key" for constraint in getattr(node, "all_constraints", None) or ()):
        own.columns, own.constraints = copy.deepcopy(node.columns), copy.deepcopy(node.constraints)
    return own


def _type(constraint: Any) -> str:
    return str(getattr(constraint.type, "value", constraint.type))


class _SilentManager(EventManager):
    """Says nothing; warnings that are errors are still raised."""

    def fire_event(
        self, e: Any, level: Any = None, node: Any = None, force_warn_or_error_handling: bool = False
    ) -> None:
        if force_warn_or_error_handling:
            super().fire_event(e, level, node, force_warn_or_error_handling)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What nodes say while they are compiled, they say when they run."""
    from dbt import deprecations

    manager = event_manager_client.get_event_manager()
    quiet = _SilentManager()
    quiet.require_warn_or_error_handling = manager.require_warn_or_error_handling
    said = copy.copy(deprecations.active_deprecations)
    event_manager_client.ctx_set_event_manager(quiet)
    try:
        yield
    finally:
        event_manager_client.ctx_set_event_manager(manager)
        deprecations.active_deprecations.clear()
        deprecations.active_deprecations.update(said)


@contextlib.contextmanager
def _as_before(adapter: LakehouseAdapter) -> Iterator[None]:
    """Warnings that are given once are given when nodes run."""
    warned = set(adapter.warned)
    try:
        yield
    finally:
        adapter.warned.intersection_update(warned)


@contextlib.contextmanager
def _own_ephemeral(manifest: Any) -> Iterator[None]:
    """The code of ephemeral models, which dbt keeps in the manifest once it compiled them, is not what is compiled here."""
    nodes = {name: node for name, node in manifest.nodes.items() if node.is_ephemeral_model}
    manifest.nodes.update({name: _copy(node) for name, node in nodes.items()})
    try:
        yield
    finally:
        manifest.nodes.update(nodes)


_SETTLED = ("list_schemas", "check_schema_exists")
_GUARDED = (
    *("_session", "list_relations", "drop_relation", "rename_relation", "truncate_relation", "create_schema"),
    *("drop_schema", "cache_added", "cache_dropped", "cache_renamed", "expand_target_column_types"),
)


class _Watch:
    """Stands between Jinja and the adapter."""

    def __init__(self, adapter: LakehouseAdapter, ask: Callable[[Place], Coming | None]) -> None:
        self._adapter, self._ask = adapter, ask
        self._allowed = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        adapter, connections = self._adapter, self._adapter.connections
        self._get_relation = adapter.get_relation
        self._get_columns = adapter.get_columns_in_relation
        guarded: list[tuple[Any, str, Any]] = [
            (adapter, "get_relation", self._relation),
            (adapter, "get_columns_in_relation", self._columns),
            *((adapter, name, self._settled(getattr(adapter, name))) for name in _SETTLED),
            *((adapter, name, self._guard(getattr(adapter, name))) for name in _GUARDED),
            *((connections, name, self._guard(getattr(connections, name))) for name in ("execute", "add_query")),
        ]
        for owner, name, stand_in in guarded:
            setattr(owner, name, stand_in)
        try:
            yield
        finally:
            for owner, name, _ in guarded:
                delattr(owner, name)

    def _guard(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **more: Any) -> Any:
            if not self._allowed:
                raise DependsOnResults
            return method(*arguments, **more)

        return guarded

    def _settled(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A question whose answer no node changes."""

        def settled(*arguments: Any, **more: Any) -> Any:
            self._allowed += 1
            try:
                return method(*arguments, **more)
            finally:
                self._allowed -= 1

        return settled

    def _relation(self, database: str, schema: str, identifier: str) -> Any:
        coming = self._ask((str(database).lower(), str(schema).lower(), str(identifier).lower()))
        if coming is None:
            return self._settled(self._get_relation)(database, schema, identifier)
        if coming.kind is None:
            raise DependsOnResults
        return self._adapter.Relation.create(
            database=database,
            schema=schema,
            identifier=identifier,
            type=RelationType(coming.kind),
            quote_policy=self._adapter.config.quoting,
        )

    def _columns(self, relation: Any) -> Any:
        place = (str(relation.database).lower(), str(relation.schema).lower(), str(relation.identifier).lower())
        coming = self._ask(place)
        if coming is None:
            if relation.is_view:
                # What it reads may be among what is made.
                raise DependsOnResults
            return self._settled(self._get_columns)(relation)
        if not coming.columns:
            raise DependsOnResults
        return [LakehouseColumn.typed(column.name, column.type) for column in coming.columns]
