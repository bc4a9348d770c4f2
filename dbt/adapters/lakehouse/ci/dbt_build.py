"""A process that runs ``dbt build`` and writes down, as JSON, what it built.

Its arguments: the file to write, then dbt's. dbt prints to this process's own output. The exit code is dbt's.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.ci.values import MODELS, DbtBuild, Node, to_json
from dbt.adapters.lakehouse.row_keys import row_key

_REUSED = "REUSED"


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
    tests: dict[str | None, list[Any]] = defaultdict(list)
    for result in results:
        tests[getattr(result.node, "attached_node", None)].append(result.node)
    return tuple(_node(result, tests[result.node.unique_id]) for result in results)


def _node(result: Any, tests: Sequence[Any]) -> Node:
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
        key=row_key(node, tests) if is_relation else (),
    )


def _text(value: Any) -> str:
    """An enumeration's value, or what already is text."""
    return str(getattr(value, "value", value))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
