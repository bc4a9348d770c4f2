"""The few places where this package reaches into dbt-core, which has no seam there.

Each tap wraps one method, once a process, and only if the method takes the arguments that are expected. With another dbt-core
dbt's own way is taken: slower, but the same results. Other adapters in the process are not concerned.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

Method = Callable[..., Any]


def install(adapter_class: type[LakehouseAdapter]) -> None:
    """Put in the taps. A command that runs no nodes, or an adapter that is used by itself, has no need of them."""
    try:
        from dbt.task.run import RunTask
        from dbt.task.runnable import GraphRunnableTask
    except ImportError:
        return
    _wrap(GraphRunnableTask, "execute_nodes", ("self",), lambda method: _execute_nodes(method, RunTask, adapter_class))


def _wrap(owner: type, name: str, parameters: tuple[str, ...], make: Callable[[Method], Method]) -> None:
    original = owner.__dict__.get(name)
    if original is None or hasattr(original, "tapped_by_lakehouse"):
        return
    if tuple(inspect.signature(original).parameters) != parameters:
        return
    tap = functools.wraps(original)(make(original))
    tap.tapped_by_lakehouse = True  # type: ignore[attr-defined]
    setattr(owner, name, tap)


def _execute_nodes(original: Method, running: type, adapter_class: type[LakehouseAdapter]) -> Method:
    """After the on-run-start hooks, before the first node of ``run``, ``build``, ``seed``, ``snapshot`` and ``test``."""

    def execute_nodes(self: Any) -> Any:
        adapter = _adapter(self, adapter_class)
        if adapter is not None and isinstance(self, running):
            from dbt.adapters.lakehouse import ahead

            ahead.of_nodes(self, adapter)
        return original(self)

    return execute_nodes


def _adapter(task: Any, adapter_class: type[LakehouseAdapter]) -> LakehouseAdapter | None:
    """The task's adapter, if it is this package's."""
    from dbt.adapters.factory import get_adapter

    adapter = get_adapter(task.config)
    return adapter if isinstance(adapter, adapter_class) else None
