"""Sources that are files: ``external_location`` in a source's ``meta`` or ``config``, as in dbt-duckdb.

The location takes the place of the relation's name in SQL. Which files it names is known, so that they count as inputs of
whatever reads the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from string import Template
from typing import Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.quoting import literal

_TEXT = r"'(?:[^']|'')*'"
_FIRST_ARGUMENT = re.compile(
    rf"\s*\w+\s*\(\s*(?P<files>{_TEXT}|\[\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\])\s*[,)].*", re.DOTALL
)


def meta(source: Any) -> dict[str, Any]:
    """All that a source says of itself: its ``meta`` with its configuration over it, as dbt-duckdb's plugins see it too."""
    config = getattr(source, "config", None)
    extra = getattr(config, "extra", None) or getattr(config, "_extra", None) or {}
    return {**(getattr(source, "meta", None) or {}), **(getattr(config, "meta", None) or {}), **extra}


def rendered(source: Any) -> str | None:
    """What stands for a source in SQL: a text, or a call of a table function; None for one that is no file.

    Raises ``ConfigError`` if the location cannot be formatted.
    """
    said = meta(source)
    location = said.get("external_location")
    if location is None or "plugin" in said:
        return None
    name = f"source {source.source_name}.{source.name}" if hasattr(source, "source_name") else f"source {source.name}"
    if not isinstance(location, str) or not location.strip():
        raise ConfigError(
            f"{name}: external_location is {location!r}; a path, a URL or a call of a table function is right"
        )
    values = {
        "name": source.name,
        "identifier": source.identifier,
        "schema": source.schema,
        "database": source.database,
        "tags": getattr(source, "tags", None) or [],
        **said,
    }
    text = _formatted(name, location, str(said.get("formatter", "newstyle")), values)
    return text if "(" in text or text.startswith("'") else literal(text)


def _formatted(source: str, location: str, formatter: str, values: Mapping[str, Any]) -> str:
    try:
        match formatter:
            case "newstyle":
                return location.format_map(values)
            case "oldstyle":
                return location % values
            case "template":
                return Template(location).substitute(values)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        known = ", ".join(sorted(values))
        raise ConfigError(
            f"{source}: external_location {location!r} cannot be formatted ({type(error).__name__}: {error}); "
            f"known are {known}; where braces belong to the SQL, say `formatter: oldstyle` beside it, and %(name)s for a value"
        ) from error
    raise ConfigError(f"{source}: formatter is {formatter!r}; newstyle, oldstyle and template are right")


def files(location: str) -> tuple[str, ...]:
    """The paths and patterns that a rendered location reads; none where its text does not show them."""
    if location.startswith("'"):
        return _texts(location) if re.fullmatch(_TEXT, location) else ()
    found = _FIRST_ARGUMENT.fullmatch(location)
    return _texts(found["files"]) if found is not None else ()


def read_by(names: Iterable[str], nodes: Mapping[str, Any], sources: Mapping[str, Any]) -> tuple[str, ...]:
    """The files behind those of these nodes and sources that are read where they are named: sources, and what stands on them
    without rows of its own (views, ephemeral models).
    """
    return tuple(dict.fromkeys(_read_by(names, nodes, sources, set())))


def by_name(nodes: Mapping[str, Any], sources: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """The sources that are files, by schema and identifier in lower case, but for names that a node has, too."""
    found = {
        (source.schema.lower(), source.identifier.lower()): source
        for source in sources.values()
        if "external_location" in meta(source) and "plugin" not in meta(source)
    }
    for node in nodes.values() if found else ():
        found.pop((str(node.schema).lower(), str(getattr(node, "alias", None) or node.name).lower()), None)
    return found


def _read_by(
    names: Iterable[str], nodes: Mapping[str, Any], sources: Mapping[str, Any], seen: set[str]
) -> Iterator[str]:
    for name in names:
        if name in seen:
            continue
        seen.add(name)
        if name in sources:
            location = rendered(sources[name])
            yield from files(location) if location is not None else ()
        elif name in nodes and nodes[name].config.materialized in ("view", "ephemeral"):
            yield from _read_by(nodes[name].depends_on.nodes, nodes, sources, seen)


def _texts(literals: str) -> tuple[str, ...]:
    return tuple(text[1:-1].replace("''", "'") for text in re.findall(_TEXT, literals))
