"""From a dbt function to one of the lake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from dbt.adapters.lakehouse import demands, nodes
from dbt.adapters.lakehouse.catalog.model import Entry, FunctionEntry
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature, called
from dbt.adapters.lakehouse.run.values import Function, Name

_VOLATILITIES = ("deterministic", "stable", "non-deterministic")


def function(node: Mapping[str, Any], name: Name, standing: Entry | None, provenance: Mapping[str, Any]) -> Function:
    """The function that a node makes. ``standing`` is what is there: of one with overloads, dbt makes one after the other.

    Raises ``ConfigError``.
    """
    config, python = node["config"], node["language"] == "python"
    type_ = str(config.get("type") or "scalar")
    if node["language"] not in ("sql", "python") or type_ not in ("scalar", "aggregate"):
        raise ConfigError(f"{node['unique_id']}: a {type_} function in {node['language']} is none that DuckDB can have")
    signatures = tuple(_signatures(node, standing))
    if python and type_ == "aggregate" and not signatures[0].arguments:
        raise ConfigError(f"{node['unique_id']}: an aggregate in Python needs an argument; give it one")
    volatility = config.get("volatility")
    path = str(Path(node.get("root_path") or "", node["original_file_path"]))
    needs = demands.python_needs({"packages": config.get("packages"), "python_version": config.get("runtime_version")})
    definition = Definition(
        language="python" if python else "sql",
        type=cast(Literal["scalar", "aggregate"], type_),
        signatures=signatures,
        volatility=volatility if volatility in _VOLATILITIES else None,
        entry_point=config.get("entry_point") if python else None,
        python_version=needs["python_version"] if python else None,
        packages=needs["packages"] if python else (),
        path=node["original_file_path"] if python else "",
        line=nodes.lines_before(path) if python else 0,
    )
    comment = nodes.docs(node).get("comment")
    return Function(name=name, definition=definition, node=node["unique_id"], comment=comment, provenance=provenance)


def _signatures(node: Mapping[str, Any], standing: Entry | None) -> Iterator[Signature]:
    """The signature of a node; with overloads (dbt-core 1.12), theirs as well, whichever of them the node stands for now."""
    own = _signature(node["arguments"], node["returns"], node["compiled_code"])
    overloads = [
        _signature(one["arguments"], one.get("returns") or node["returns"], one.get("compiled_body") or "")
        for one in node.get("overloads") or ()
    ]
    if own in overloads and isinstance(standing, FunctionEntry):
        # dbt made the first of them a moment ago, with all the others.
        yield from standing.definition.signatures
        return
    yield own
    yield from overloads


def _signature(arguments: Sequence[Mapping[str, Any]], returns: Mapping[str, Any], code: str) -> Signature:
    known = tuple(
        Argument(name=one["name"], type=str(one["data_type"]), default=_default(one.get("default_value")))
        for one in arguments
    )
    # Behind a semicolon nothing of a body would count.
    return Signature(arguments=known, returns=str(returns["data_type"]), body=code.strip().rstrip("; \n"))


def _default(value: Any) -> str | None:
    """A default in SQL; a text is SQL, as it is where dbt writes it into a statement."""
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def listed(entries: Sequence[Entry]) -> list[Entry]:
    """Entries as dbt can tell them apart: it has one kind of name, so that a relation goes before a function of its name."""
    relations = {entry.name.lower() for entry in entries if not isinstance(entry, FunctionEntry)}
    return [
        entry for entry in entries if not (isinstance(entry, FunctionEntry) and called(entry.name).lower() in relations)
    ]
