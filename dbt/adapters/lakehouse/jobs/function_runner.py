"""What the process of a Python function runs: ``python -I -S function_runner.py SPECIFICATION``.

It loads the user's code, says whether that went well, and then answers batches of arguments with batches of results, as Arrow
IPC streams over a socket that it inherited. It needs pyarrow and the standard library; nothing of it is trusted by the
process that started it.
"""

from __future__ import annotations

import contextlib
import decimal
import inspect
import json
import linecache
import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_MESSAGE = 20_000
_SHOWN = 100
_WHOLE = ("HUGEINT", "UHUGEINT")
"""Integers that Arrow has no type for: they travel as texts."""

OK, FAILED = b"+", b"-"

Specification = Mapping[str, Any]


class Failed(Exception):
    """What the user's function did wrong, in words."""


class Loaded:
    """The user's function. ``scalar``: called once a row; else a class, of which each group gets an object of its own."""

    def __init__(self, specification: Specification) -> None:
        self._path = str(specification["path"])
        self._scalar = specification["type"] == "scalar"
        self._names: list[str] = list(specification["arguments"])
        self._returns = str(specification["returns"])
        self._whole = [at for at, kind in enumerate(specification["types"]) if kind in _WHOLE]
        code = "\n" * int(specification["lines_before"]) + specification["code"]
        # Registered so that tracebacks can show the source line where the file itself is not at hand.
        linecache.cache[self._path] = (len(code), None, code.splitlines(keepends=True), self._path)
        namespace: dict[str, Any] = {"__name__": "__dbt_function__", "__file__": self._path}
        try:
            exec(compile(code, self._path, "exec"), namespace)
        except BaseException as error:
            raise Failed(f"its code cannot be loaded:\n{_explain(error, self._path)}") from error
        entry = specification["entry_point"]
        if not callable(namespace.get(entry)):
            raise Failed(f"{self._path} has no {'function' if self._scalar else 'class'} {entry!r}, its entry_point")
        self._call: Callable[..., Any] = namespace[entry]

    def results(self, columns: Sequence[Any], rows: int, returns: Any) -> Any:
        """A ``pyarrow.Array`` of results for the arguments in ``columns``. Raises ``Failed``."""
        import pyarrow as pa

        values = [self._values(at, column) for at, column in enumerate(columns)]
        self._make_whole(values)
        made = self._scalars(values, rows) if self._scalar else self._aggregates(values[0])
        if self._returns in _WHOLE:
            made = [None if value is None else str(value) for value in made]
        try:
            return pa.array(made, type=returns)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        try:
            made = [_fitting(value, returns) for value in made]
            return pa.array(made, type=returns)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, decimal.DecimalException):
            raise Failed(self._misfit(made, returns)) from None

    def _values(self, at: int, column: Any) -> list[Any]:
        try:
            found: list[Any] = column.to_pylist()
        except (ValueError, OverflowError, ArithmeticError) as error:
            # Years beyond 9999 and infinite dates, say. An aggregate has its arguments in one column.
            which = f"argument {self._names[at]} has" if self._scalar else "arguments have"
            raise Failed(f"its {which} a value that Python does not have: {error}") from None
        return found

    def _make_whole(self, values: list[list[Any]]) -> None:
        """Make integers of the texts that stand for them."""
        for at in self._whole:
            if self._scalar:
                values[at] = [None if value is None else int(value) for value in values[at]]
                continue
            for row in (row for group in values[0] for row in group or ()):
                name = list(row)[at]
                row[name] = None if row[name] is None else int(row[name])

    def _scalars(self, values: list[list[Any]], rows: int) -> list[Any]:
        call = self._call
        found: list[Any] = []
        arguments: tuple[Any, ...] = ()
        try:
            if len(values) == 1:
                for value in values[0]:
                    arguments = (value,)
                    found.append(call(value))
                return found
            for arguments in zip(*values, strict=True) if values else ((),) * rows:
                found.append(call(*arguments))
        except BaseException as error:
            said = ", ".join(f"{name}={_short(value)}" for name, value in zip(self._names, arguments, strict=False))
            raise Failed(f"called with {said or 'nothing'}:\n{_explain(error, self._path)}") from error
        return found

    def _aggregates(self, groups: list[Any]) -> list[Any]:
        found = []
        for group in groups:
            row: dict[str, Any] = {}
            try:
                state = self._call()
                for row in group or ():
                    state.accumulate(*row.values())
                row = {}
                found.append(state.finish())
            except BaseException as error:
                said = ", ".join(f"{name}={_short(value)}" for name, value in row.items())
                doing = f"accumulating {said}" if row else f"finishing a group of {len(group or ())} rows"
                raise Failed(f"{doing}:\n{_explain(error, self._path)}") from error
        return found

    def _misfit(self, values: list[Any], returns: Any) -> str:
        import pyarrow as pa

        for value in values:
            try:
                pa.array([value], type=returns)
            except Exception as error:
                said = (
                    f"it returned {_short(value)}, a {type(value).__name__}, where {self._returns} is declared: {error}"
                )
                return said[:_MESSAGE]
        return f"its results are no {self._returns}, which is declared"


def _fitting(value: Any, kind: Any) -> Any:
    """A result as Arrow takes it, where Python's numbers and texts mean the same by another type."""
    import pyarrow as pa

    if value is None:
        return None
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if pa.types.is_decimal(kind):
        if isinstance(value, float):
            value = decimal.Decimal(repr(value))
        if isinstance(value, decimal.Decimal) and value.is_finite():
            with decimal.localcontext(decimal.Context(prec=76)):
                return value.quantize(decimal.Decimal(1).scaleb(-kind.scale), decimal.ROUND_HALF_UP)
    elif pa.types.is_floating(kind) and isinstance(value, decimal.Decimal):
        return float(value)
    elif pa.types.is_string(kind) and not isinstance(value, str):
        if isinstance(value, dict | list):
            return json.dumps(value)
        if type(value).__module__ in ("uuid", "ipaddress"):
            return str(value)
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _explain(error: BaseException, path: str) -> str:
    """What was raised as Python shows it, from the user's file on."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if frame.filename == path), len(frames))
    text = "".join(traceback.format_list(frames[first:])) + "".join(traceback.format_exception_only(error))
    return text.rstrip()[:_MESSAGE]


def signature(count: int) -> inspect.Signature:
    """The signature of a function with so many arguments, by which DuckDB counts them."""
    kind = inspect.Parameter.POSITIONAL_ONLY
    return inspect.Signature([inspect.Parameter(f"a{at}", kind) for at in range(count)])


# the process


def main(path: str) -> None:
    """Answer batches until the other side is gone. Does not return."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not imported yet where time counts
        specification = json.load(file)
    channel = socket.socket(fileno=int(specification["channel"]))
    _limit(specification["limits"])
    _find_packages(specification)
    try:
        loaded = Loaded(specification)
        _import_pyarrow(specification["code"])
    except Failed as error:
        send(channel, FAILED + str(error).encode(errors="replace"))
        os._exit(0)
    except BaseException as error:
        send(channel, FAILED + f"its environment lacks what it needs: {error}".encode(errors="replace")[:_MESSAGE])
        os._exit(0)
    send(channel, OK)
    while (request := receive(channel)) is not None:
        try:
            answer = OK + _answer(loaded, request)
        except Failed as error:
            answer = FAILED + str(error).encode(errors="replace")
        except MemoryError:
            answer = FAILED + b"it needs more memory than it may have"
        _flush()
        send(channel, answer)
    _flush()
    os._exit(0)


def _import_pyarrow(code: str) -> None:
    """Import pyarrow; without numpy, which takes longer than all else, where the function has no use for it."""
    if "numpy" not in sys.modules and "numpy" not in code and "pandas" not in code:
        sys.modules["numpy"] = None  # type: ignore[assignment]
        try:
            import pyarrow
        finally:
            del sys.modules["numpy"]
    import pyarrow  # noqa: F401


def _answer(loaded: Loaded, request: memoryview) -> bytes:
    import pyarrow as pa

    with pa.ipc.open_stream(request) as reader:
        table = reader.read_all()
    returns = table.schema.field(table.num_columns - 1).type
    results = loaded.results(table.columns[:-1], table.num_rows, returns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([pa.field("result", returns)])) as writer:
        writer.write_batch(pa.record_batch([results], names=["result"]))
    return bytes(memoryview(sink.getvalue()))


def send(channel: socket.socket, message: bytes) -> None:
    """A message with its length before it."""
    channel.sendall(struct.pack(">Q", len(message)))
    channel.sendall(message)


def receive(channel: socket.socket) -> memoryview | None:
    """A message; None at the end."""
    head = _exactly(channel, 8)
    return None if head is None else _exactly(channel, struct.unpack(">Q", head)[0])


def _exactly(channel: socket.socket, length: int) -> memoryview | None:
    data = bytearray(length)
    view = memoryview(data)
    while len(view):
        try:
            count = channel.recv_into(view)
        except ConnectionError:
            return None
        if count == 0:
            return None
        view = view[count:]
    return memoryview(data)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _limit(limits: Mapping[str, int]) -> None:
    import resource

    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _find_packages(specification: Specification) -> None:
    import site

    # Not the folder of this file, whose modules would be in the way of others of their names.
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    for folder in specification["folders"]:
        site.addsitedir(folder)
    sys.path.extend(specification["modules"])


if __name__ == "__main__":
    main(sys.argv[1])
