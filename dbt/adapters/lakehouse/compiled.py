"""What a node's code is compiled from, known without compiling it.

dbt renders Jinja with the whole of Python behind it, so that in general only rendering tells what comes out. Most nodes name
nothing but their parents, configuration, variables and macros that do the same. Their compiled code, and what a
materialization of this package makes of it, are a function of what is hashed here; of all others (queries at compile time, the
clock, the invocation) nothing is said, and dbt compiles them each time.

Only names decide: each name that a template uses must be known as harmless, and so must those of the macros it may call.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.templates import ATTRIBUTES, EACH_TIME, HASHED, NEVER_OWN, Named, named

# fmt: off
_HARMLESS = frozenset((
    "ref", "source", "function", "config", "this", "execute", "return", "log", "print", "doc", "tojson", "fromjson", "toyaml",
    "fromyaml", "set", "set_strict", "zip", "zip_strict", "local_md5", "dbt_version", "project_name", "schema",
    "database", "range", "dict", "namespace", "cycler", "joiner", "loop", "varargs", "kwargs", "caller", "true",
    "false", "none", "True", "False", "None",
))
# fmt: on
_STATE_OF_OWN_TABLE = frozenset({"is_incremental", "should_full_refresh", "should_store_failures"})
"""Macros of dbt that ask for what the key holds anyway."""
_INTERNAL = frozenset({"dbt", "dbt_lakehouse", "dbt_duckdb"})
_WHILE_PARSING = frozenset({"generate_alias_name", "generate_database_name", "generate_schema_name"})
"""Macros that projects bring in the place of dbt's, and that have done their work before a node is built."""
_CALL = re.compile(r"\s*(env_var|ref|var|source|doc)\s*\(.+\)\s*")
"""What dbt renders in a test's arguments without braces, too."""
_KWARGS = "_dbt_generic_test_kwargs"

_FIELDS = (
    "unique_id",
    "raw_code",
    "language",
    "resource_type",
    "database",
    "schema",
    "alias",
    "relation_name",
    "original_file_path",
    "root_path",
    "description",
    "column_name",
    "attached_node",
    "version",
)


@dataclass
class _Reached:
    """What a template and the macros behind it use."""

    macros: set[str] = field(default_factory=set)
    hashed: set[str] = field(default_factory=set)
    environment: set[str] = field(default_factory=set)
    clear: bool = True


class Sources:
    """What the nodes of a project are compiled from. ``scans`` remembers what templates name, by their hash."""

    def __init__(self, manifest: Any, config: Any, flags: Any, scans: dict[str, Named]) -> None:
        self._manifest = manifest
        self._config = config
        self._flags = flags
        self._scans = scans
        self._used: dict[str, Named] = {}
        self._macro_hashes: dict[str, str] = {}

    @property
    def scans(self) -> dict[str, Named]:
        """Those that were used."""
        return self._used

    def key(self, node: Any, *, exists: bool) -> str | None:
        """What the node's compiled code and its build are a function of, as 64 hex digits; None if that is not known.

        ``exists`` says whether a table stands at the node's name.
        """
        if self._common is None or not _is_ordinary(node):
            return None
        parts = self._parts(node, exists, ())
        return None if parts is None else _hash([self._common, parts])

    def key_of_unit_test(self, test: Any, columns: Mapping[str, Any]) -> str | None:
        """The key of a unit test's query; ``columns`` are those of the relations for which it brings rows."""
        models = [self._manifest.nodes.get(name) for name in test.depends_on.nodes[:1]]
        model = models[0] if models else None
        parts = None if model is None or self._common is None else self._parts(model, False, ())
        said = [test.unique_id, test.checksum, test.config.to_dict(omit_none=True)]
        return None if parts is None else _hash([self._common, parts, said, columns])

    def _parts(self, node: Any, exists: bool, above: tuple[str, ...]) -> dict[str, Any] | None:
        if node.unique_id in above or getattr(node, "language", "sql") not in ("sql", "python"):
            return None
        parents = self._parents(node, above)
        reached = _Reached() if node.language == "python" else self._reach(_templates(node))
        if parents is None or not reached.clear:
            return None
        parts: dict[str, Any] = {name: getattr(node, name, None) for name in _FIELDS}
        parts["config"] = node.config.to_dict(omit_none=True)
        parts["columns"] = [
            column.to_dict(omit_none=True) for column in (getattr(node, "columns", None) or {}).values()
        ]
        parts["constraints"] = [one.to_dict() for one in getattr(node, "constraints", None) or ()]
        parts["parents"] = parents
        parts["macros"] = sorted(self._macro_hash(name) for name in reached.macros)
        parts["test"] = _test(node)
        parts["exists"] = exists
        for name in sorted(reached.hashed):
            parts[name] = self._value_of(name)
        parts["environment"] = {name: os.environ.get(name) for name in sorted(reached.environment)}
        if node.resource_type == "seed":
            parts["file"] = _seed_digest(node)
        return parts

    def _parents(self, node: Any, above: tuple[str, ...]) -> list[Any] | None:
        """How the parents are named in the node's code; with all they are compiled from, if they become a part of it."""
        found: list[Any] = []
        for name in sorted(set(getattr(node.depends_on, "nodes", ()))):
            known = self._manifest
            parent = known.nodes.get(name) or known.sources.get(name) or getattr(known, "functions", {}).get(name)
            if parent is None or any(getattr(parent, of, None) for of in ("defer_relation", "defer_function")):
                return None
            if getattr(parent, "is_ephemeral_model", False):
                inner = self._parts(parent, False, (*above, node.unique_id))
                if inner is None:
                    return None
                found.append(inner)
            else:
                # A reference without a version follows the latest, whichever of them are named beside it.
                # ``--sample`` takes the rows of a time.
                time = parent.config.get("event_time")
                found.append([name, parent.relation_name, getattr(parent, "latest_version", None), time])
        return found

    # names

    def _reach(self, templates: Iterable[str]) -> _Reached:
        reached = _Reached()
        waiting = list(templates)
        while waiting and reached.clear:
            for macro in self._visit(self._scan(waiting.pop()), reached):
                if macro not in reached.macros:
                    reached.macros.add(macro)
                    waiting.append(self._manifest.macros[macro].macro_sql)
        return reached

    def _scan(self, text: str) -> Named:
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest not in self._used:
            known = self._scans.get(digest)
            self._used[digest] = named(text) if known is None else known
        return self._used[digest]

    def _visit(self, template: Named, reached: _Reached) -> Iterator[str]:
        """The macros that a template may call; ``reached`` hears of the rest."""
        reached.clear = reached.clear and not template.unclear
        reached.environment.update(template.environment)
        for name in template.plain:
            macros = self._by_name.get(name, ())
            if name in _STATE_OF_OWN_TABLE and len(macros) == 1:
                continue
            yield from macros
            # A package's macro of dbt's own name counts in that package alone.
            if name in NEVER_OWN or (not macros and name not in template.own):
                self._plain(name, reached)
        for name, attribute in template.dotted:
            if name in template.own:
                yield from self._by_name.get(name, ())
            elif name in self._packages and (name, attribute) in self._by_package:
                yield self._by_package[name, attribute]
            elif attribute not in ATTRIBUTES.get(name, {attribute}):
                reached.clear = False
            elif name not in ATTRIBUTES:
                self._plain(name, reached)
        for name in template.dispatched:
            yield from self._dispatched.get(name, ())

    def _plain(self, name: str, reached: _Reached) -> None:
        if name in HASHED:
            reached.hashed.add(name)
        elif name not in _HARMLESS and name != _KWARGS:
            reached.clear = False

    @functools.cached_property
    def _by_name(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for key, macro in self._manifest.macros.items():
            found[macro.name] = (*found.get(macro.name, ()), key)
        return found

    @functools.cached_property
    def _by_package(self) -> Mapping[tuple[str, str], str]:
        return {(macro.package_name, macro.name): key for key, macro in self._manifest.macros.items()}

    @functools.cached_property
    def _packages(self) -> frozenset[str]:
        return frozenset(package for package, _ in self._by_package)

    @functools.cached_property
    def _dispatched(self) -> Mapping[str, tuple[str, ...]]:
        """Macros by the name under which they are dispatched: ``x`` may be any ``<adapter>__x``, of which all count."""
        found: dict[str, tuple[str, ...]] = {}
        for key, macro in self._manifest.macros.items():
            _, separator, rest = macro.name.partition("__")
            if separator:
                found[rest] = (*found.get(rest, ()), key)
        return found

    def _macro_hash(self, key: str) -> str:
        if key not in self._macro_hashes:
            self._macro_hashes[key] = _hash([key, self._manifest.macros[key].macro_sql])
        return self._macro_hashes[key]

    # what all nodes share

    def _value_of(self, name: str) -> Any:
        if name == "target":
            return self._config.to_target_dict()
        return self._variables if name == "var" else None

    @functools.cached_property
    def _variables(self) -> Any:
        packages = {name: project.vars.to_dict() for name, project in self._config.load_dependencies().items()}
        return [self._config.vars.to_dict(), packages, getattr(self._config, "cli_vars", None)]

    @functools.cached_property
    def _internal_names(self) -> frozenset[str]:
        macros = self._manifest.macros.values()
        return frozenset(_plain_name(macro) for macro in macros if macro.package_name in _INTERNAL)

    @functools.cached_property
    def _overriding(self) -> tuple[str, ...]:
        """Macros of the project and its packages in the place of those that make a build of compiled code."""
        return tuple(
            key
            for key, macro in self._manifest.macros.items()
            if macro.package_name not in _INTERNAL
            and (_plain_name(macro) in self._internal_names or macro.name.startswith("materialization_"))
        )

    def _used_by_overriding(self) -> Mapping[str, Any] | None:
        """Variables that overriding macros use; None if they use the clock."""
        macros = self._manifest.macros
        names_of_dbt = self._internal_names - _WHILE_PARSING
        waiting = [key for key in self._overriding if _plain_name(macros[key]) in names_of_dbt]
        reached = _Reached()
        while waiting:
            key = waiting.pop()
            if key in reached.macros or macros[key].package_name in _INTERNAL:
                continue
            reached.macros.add(key)
            template = self._scan(macros[key].macro_sql)
            names = {*template.plain, *(name for name, _ in template.dotted)}
            if names & EACH_TIME or ("modules", "datetime") in template.dotted or "" in template.environment:
                return None
            waiting += self._visit(template, reached)
        values = {name: self._value_of(name) for name in sorted(reached.hashed)}
        return {**values, "environment": {name: os.environ.get(name) for name in sorted(reached.environment)}}

    @functools.cached_property
    def _common(self) -> str | None:
        """Versions, flags, the project's settings, and the macros that make a build of compiled code, overriding ones as well.

        None if what they make is another build each time.
        """
        import dbt.version

        from dbt.adapters.lakehouse.__version__ import version

        used = self._used_by_overriding()
        if used is None:
            return None
        macros = self._manifest.macros
        # What overrides may call anything of the project.
        shaping = macros if self._overriding else [key for key in macros if macros[key].package_name in _INTERNAL]
        flags = {
            name: str(getattr(self._flags, name, None))
            for name in ("FULL_REFRESH", "EMPTY", "SAMPLE", "STORE_FAILURES", "EVENT_TIME_START", "EVENT_TIME_END")
        }
        project = [getattr(self._config, name, None) for name in ("project_name", "dispatch", "quoting", "flags")]
        versions = [dbt.version.__version__, version]
        # What ``adapter.type()`` says.
        project.append(getattr(self._config.credentials, "target_type", None))
        return _hash([versions, flags, project, used, sorted(self._macro_hash(key) for key in shaping)])


def _plain_name(macro: Any) -> str:
    """A macro's name without the adapter that it is for."""
    name = str(macro.name)
    return name.partition("__")[2] or name


def _is_ordinary(node: Any) -> bool:
    """Whether what becomes of the compiled code is up to this package alone, and nothing runs beside it."""
    if node.resource_type not in ("model", "seed", "snapshot", "test"):
        return False
    config = node.config
    if getattr(config, "pre_hook", None) or getattr(config, "post_hook", None) or config.get("sql_header"):
        return False
    pointer = getattr(config, "latest_version_pointer", None)
    if getattr(node, "version", None) is not None and pointer is not None and pointer.enabled is not False:
        return False  # dbt-core (from 1.12 on) makes a view beside the table of the latest version
    if node.resource_type == "test":
        return bool(config.materialized == "test")
    if node.resource_type == "snapshot" and config.get("strategy") not in ("timestamp", "check"):
        return False  # a macro of the project's own says how rows are told apart
    strategy = node.config.get("incremental_strategy")
    if strategy not in (None, "append", "delete+insert", "merge", "insert_overwrite"):
        return False
    return node.config.materialized in (
        *("table", "view", "materialized_view", "incremental", "seed", "snapshot", "ephemeral"),
    )


def _templates(node: Any) -> list[str]:
    """All that is rendered for a node's compiled code."""
    texts = [node.raw_code or ""]
    metadata = getattr(node, "test_metadata", None)
    if metadata is not None:
        kwargs = _texts(metadata.kwargs)
        texts += (f"{{{{ {text} }}}}" if _CALL.fullmatch(text) else text for text in kwargs)
    return texts


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _test(node: Any) -> Any:
    metadata = getattr(node, "test_metadata", None)
    return None if metadata is None else metadata.to_dict()


def _seed_digest(node: Any) -> str | None:
    path = Path(node.root_path or "", node.original_file_path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
