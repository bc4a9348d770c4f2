"""A process that runs ``dbt build`` and writes down, as JSON, what it built.

Its arguments: the file to write, then dbt's. dbt prints to this process's own output. The exit code is dbt's.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.ci.values import MODELS, DbtBuild, Node, to_json

_REUSED = "REUSED"
_SCD_ID = "dbt_scd_id"


def main(arguments: Sequence[str]) -> int:
    """Run dbt; see above."""
    file, *wanted = arguments
    from dbt.cli.exceptions import DbtUsageException
    from dbt.cli.main import dbtRunner
    from dbt_common.invocation import get_invocation_id

    started = time.monotonic()
    ended = dbtRunner().invoke(wanted)
    results = getattr(ended.result, "results", None) or ()
    build = DbtBuild(
        passed=bool(ended.success),
        nodes=_nodes(results),
        seconds=round(time.monotonic() - started, 3),
        invocation=get_invocation_id(),
        error=None if ended.exception is None else str(ended.exception) or type(ended.exception).__name__,
    )
    Path(file).write_text(json.dumps(to_json(build)), encoding="utf-8")
    if ended.exception is not None:
        if isinstance(ended.exception, DbtUsageException):
            print(build.error, file=sys.stderr)  # of all else dbt has told
        return 2
    return 0 if ended.success else 1


def _nodes(results: Iterable[Any]) -> tuple[Node, ...]:
    results = list(results)
    unique = _unique(result.node for result in results)
    return tuple(_node(result, unique) for result in results)


def _node(result: Any, unique: Mapping[str, tuple[str, ...]]) -> Node:
    node = result.node
    kind = _text(node.resource_type)
    said: Mapping[str, Any] = result.adapter_response or {}
    is_relation = kind in MODELS
    return Node(
        id=node.unique_id,
        kind=kind,
        status=_text(result.status),
        schema=getattr(node, "schema", None) if is_relation else None,
        name=getattr(node, "alias", None) if is_relation else None,
        path=getattr(node, "original_file_path", None),
        message=result.message,
        seconds=round(result.execution_time or 0.0, 3),
        reused=said.get("code") == _REUSED,
        saved=float(said.get("seconds_saved") or 0.0),
        failures=result.failures,
        key=(_own_key(node) or unique.get(node.unique_id, ())) if is_relation else (),
    )


def _text(value: Any) -> str:
    """An enumeration's value, or what already is text."""
    return str(getattr(value, "value", value))


def _own_key(node: Any) -> tuple[str, ...]:
    """The key that a node's own configuration names: of a snapshot's rows, its ids are; else ``unique_key`` or a contract."""
    config = node.config
    if _text(node.resource_type) == "snapshot":
        return (getattr(config.snapshot_meta_column_names, "dbt_scd_id", None) or _SCD_ID,)
    said = getattr(config, "unique_key", None)
    if said:
        return tuple(said) if isinstance(said, list | tuple) else (str(said),)
    for constraint in getattr(node, "constraints", None) or ():
        if _text(constraint.type) == "primary_key" and constraint.columns:
            return tuple(constraint.columns)
    for column in (getattr(node, "columns", None) or {}).values():
        if any(_text(constraint.type) == "primary_key" for constraint in getattr(column, "constraints", None) or ()):
            return (str(column.name),)
    return ()


def _unique(nodes: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """Keys that tests of the build look after, by the node they are about; one column is taken before several."""
    found: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        said = getattr(node, "test_metadata", None)
        about = getattr(node, "attached_node", None)
        if said is None or about is None or getattr(node.config, "where", None):
            continue
        columns: Any = None
        if said.name == "unique":
            columns = [node.column_name or said.kwargs.get("column_name")]
        elif said.name == "unique_combination_of_columns":
            columns = said.kwargs.get("combination_of_columns")
        if columns and all(isinstance(column, str) for column in columns):
            key = tuple(column.strip('"') for column in columns)
            if about not in found or len(key) < len(found[about]):
                found[about] = key
    return found


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
