"""The few places where this package reaches into dbt-core, which has no seam there.

Each tap wraps one method, once a process, and only if the method takes the arguments that are expected. With another dbt-core
dbt's own way is taken: slower, but the same results. Other adapters in the process are not concerned.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dbt_common.exceptions import DbtRuntimeError

from dbt.adapters.lakehouse.connections import REUSED

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

Method = Callable[..., Any]


def install(adapter_class: type[LakehouseAdapter]) -> None:
    """Put in the taps. A command that runs no nodes, or an adapter that is used by itself, has no need of them."""
    try:
        from dbt.artifacts.schemas.results import RunStatus
        from dbt.task.compile import CompileRunner
        from dbt.task.run import ModelRunner, RunTask
        from dbt.task.runnable import GraphRunnableTask
    except ImportError:
        return
    _wrap(GraphRunnableTask, "execute_nodes", ("self",), lambda method: _execute_nodes(method, RunTask, adapter_class))
    _wrap(GraphRunnableTask, "run", ("self",), lambda method: _run(method, RunTask, adapter_class))
    _wrap(CompileRunner, "compile", ("self", "manifest"), lambda method: _compile(method, adapter_class))
    _look_for_secrets_fast()
    reused = getattr(RunStatus, "Reused", None)  # from dbt-core 1.12 on
    if reused is not None:
        _wrap(
            ModelRunner,
            "execute",
            ("self", "model", "manifest"),
            lambda method: _execute(method, reused, adapter_class),
        )


def _look_for_secrets_fast() -> None:
    """With each line that it logs, dbt looks through the environment for secrets, and decodes all of it to do so.

    That takes a fifth of the time of a build of many small models. Undecoded names tell as well which variables are secrets.
    """
    from dbt_common.constants import SECRET_ENV_PREFIX
    from dbt_common.events import functions as events

    original: Callable[[], list[str]] | None = getattr(events, "env_secrets", None)
    if original is None or hasattr(original, "tapped_by_lakehouse"):
        return
    names, prefix = getattr(os.environ, "_data", None), os.fsencode(SECRET_ENV_PREFIX)
    if not isinstance(names, dict) or not all(isinstance(name, bytes) for name in names):
        return

    @functools.wraps(original)
    def env_secrets() -> list[str]:
        return original() if any(name.startswith(prefix) for name in list(names)) else []

    env_secrets.tapped_by_lakehouse = True  # type: ignore[attr-defined]
    setattr(events, "env_secrets", env_secrets)  # noqa: B010 # it is imported there, not declared


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
    """Of ``run``, ``build``, ``seed``, ``snapshot`` and ``test``: after the on-run-start hooks, before the first node; and after
    the last one, before the on-run-end hooks.
    """

    def execute_nodes(self: Any) -> Any:
        adapter = _adapter(self, adapter_class)
        if adapter is None or not isinstance(self, running):
            return original(self)
        from dbt.adapters.lakehouse import again, ahead, hand_calls

        hand_calls.wait_for_functions(self)
        rounds = again.Again(self, adapter)
        setattr(self, "rounds_by_lakehouse", rounds)  # noqa: B010 # dbt knows of no such attribute
        ahead.of_nodes(self, adapter)
        results = original(self)
        while rounds.next_round():
            results = original(self)
        return results

    return execute_nodes


def _run(original: Method, running: type, adapter_class: type[LakehouseAdapter]) -> Method:
    """A run that passed and could not be published leaves its results, too, where ``dbt retry`` looks for them."""

    def run(self: Any) -> Any:
        adapter = _adapter(self, adapter_class) if isinstance(self, running) else None
        if adapter is None:
            return original(self)
        try:
            with adapter.invocation.running():
                return original(self)
        except DbtRuntimeError as error:
            rounds = getattr(self, "rounds_by_lakehouse", None)
            if rounds is not None and adapter.invocation.refused is error:
                rounds.leave_results()
            raise

    return run


_COMPILED = ("compiled", "compiled_code", "extra_ctes", "extra_ctes_injected", "_pre_injected_sql", "relation_name")


def _compile(original: Method, adapter_class: type[LakehouseAdapter]) -> Method:
    """A node that was compiled before its turn, and would be compiled to the same, is not compiled again."""

    def compile_(self: Any, manifest: Any) -> Any:
        remembering = self.adapter.invocation.remembering if isinstance(self.adapter, adapter_class) else None
        copy = None if remembering is None else remembering.take_compiled(self.node.unique_id)
        if copy is None or _names_others(copy) or not all(hasattr(copy, name) for name in _COMPILED):
            return original(self, manifest)
        for name in _COMPILED:
            setattr(self.node, name, getattr(copy, name))
        return self.compiler._write_node(self.node)

    return compile_


def _names_others(node: Any) -> bool:
    """Whether a node has foreign keys, which the compiler renders where they are declared."""
    return any(constraint.type == "foreign_key" for constraint in getattr(node, "all_constraints", None) or ())


def _execute(original: Method, reused: Any, adapter_class: type[LakehouseAdapter]) -> Method:
    """A model, seed or snapshot whose table was made before has dbt's status for that, which dbt itself never gives."""

    def execute(self: Any, model: Any, manifest: Any) -> Any:
        result = original(self, model, manifest)
        # Batches are left alone: of those, dbt goes on with the next only after a success.
        if isinstance(self.adapter, adapter_class) and not hasattr(self, "batch_idx"):
            response = getattr(result, "adapter_response", None) or {}
            if response.get("code") == REUSED and result.status == "success":
                result.status = reused
        return result

    return execute


def _adapter(task: Any, adapter_class: type[LakehouseAdapter]) -> LakehouseAdapter | None:
    """The task's adapter, if it is this package's."""
    from dbt.adapters.factory import get_adapter

    adapter = get_adapter(task.config)
    return adapter if isinstance(adapter, adapter_class) else None
