"""Runs Python functions of the lake, each in a process of its own that DuckDB sends batches of arguments to.

It is the same in a sandbox and without one: what a function's code does never reaches the process that runs SQL, and it has
the packages and the Python that it asks for. A process starts with the first job that names its function and is kept for later
ones. Nothing of what it sends is trusted.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from dbt.adapters.lakehouse.errors import FunctionError, JobCancelled, LakehouseError, TableError
from dbt.adapters.lakehouse.jobs import function_runner, python_cell, sound
from dbt.adapters.lakehouse.jobs.function import Definition, called
from dbt.adapters.lakehouse.jobs.function_sql import native_types, specification
from dbt.adapters.lakehouse.jobs.job import Input, Job, LogLine, Progress, PythonNeeds, Watch
from dbt.adapters.lakehouse.jobs.python_cell import Cell, CellProcess
from dbt.adapters.lakehouse.jobs.python_env import Environment, Environments
from dbt.adapters.lakehouse.jobs.python_process import Output, amount
from dbt.adapters.lakehouse.settings import LakeSettings

KEPT = 4
"""Processes that are kept for functions which the present job does not name."""

_TICK_SECONDS = 0.05
_CHUNK = 1 << 20
_MARGIN = 512 * 1024**2
_LONGEST = 1 << 40
_RUNNER = Path(__file__).with_name("function_runner.py")


class FunctionProcesses:
    """The processes of one worker's functions. With ``foreign`` code is not that of this machine's own user."""

    def __init__(self, settings: LakeSettings, cancelled: Callable[[], bool], *, foreign: bool = False) -> None:
        self._settings = settings
        self._cancelled = cancelled
        self._environments = Environments(settings.environments, wheels_only=foreign)
        self._processes: dict[str, _Process] = {}
        self._lock = threading.Lock()
        self._failure: LakehouseError | None = None
        self._memory = "1GB"
        self._warned = False
        self.watch: Watch | None = None

    @contextlib.contextmanager
    def job(self, job: Job, memory: str, watch: Watch | None) -> Iterator[None]:
        """While a job runs: what its functions print is its own, and what they raise is raised as they said it."""
        wanted = {item.function.identity for item in job.inputs if item.function is not None}
        self._memory, self.watch, self._failure = memory, watch, None
        idle = [identity for identity in self._processes if identity not in wanted]
        for identity in idle[: max(len(idle) - KEPT, 0)]:
            self._processes.pop(identity).close()
        try:
            yield
        except (duckdb.Error, LakehouseError) as error:
            if self._failure is None:
                raise
            raise self._failure from error
        finally:
            self.watch = None

    def register(self, connection: duckdb.DuckDBPyConnection, item: Input) -> None:
        """Let DuckDB know the Python function behind a function's macros."""
        definition = item.function
        assert definition is not None
        takes, gives = native_types(definition)
        name = f"{item.schema}.{called(item.name)}"

        def call(*columns: Any) -> Any:
            return self._call(definition, name, columns)

        # DuckDB counts parameters by the signature.
        call.__signature__ = function_runner.signature(len(takes))  # type: ignore[attr-defined]
        create: Any = connection.create_function  # names of types and kinds do as well as the objects it declares
        create(
            definition.native,
            call,
            takes,
            gives,
            type="arrow",
            null_handling="special",
            side_effects=definition.each_time,
        )

    def check(self, job: Job) -> None:
        """Have the code of the job's functions loaded. Raises ``FunctionError`` if it cannot be."""
        for item in job.inputs:
            if item.function is not None and item.function.language == "python":
                self._process(item.function, f"{item.schema}.{called(item.name)}")

    def _call(self, definition: Definition, name: str, columns: Sequence[Any]) -> Any:
        try:
            if self._failure is not None:
                raise self._failure
            return self._process(definition, name).call(columns)
        except LakehouseError as error:
            # DuckDB would make a text of it.
            self._failure = self._failure or error
            raise

    def _process(self, definition: Definition, name: str) -> _Process:
        with self._lock:
            process = self._processes.get(definition.identity)
            if process is not None and process.alive:
                return process
            self._warn()
            environment = self._environments.get(
                PythonNeeds(packages=definition.packages, python_version=definition.python_version), self._cancelled
            )
            process = _Process(self._settings, environment, definition, name, self._memory, self._cancelled, self._tell)
            self._processes[definition.identity] = process
            return process

    def _warn(self) -> None:
        """Say once what a process without bubblewrap can do."""
        if self._warned or self._settings.python_sandbox == "off":
            return
        if python_cell.bubblewrap(self._settings.python_sandbox) is None:
            self._warned = True
            text = python_cell.warning("functions in Python run in processes of their own")
            self._tell(LogLine(text=text, stream="executor"))

    def _tell(self, line: Progress | LogLine) -> None:
        watch = self.watch
        if watch is not None:
            watch(line)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            processes, self._processes = self._processes, {}
        for process in processes.values():
            process.close()
        self._environments.collect()


class _Process:
    """One function's process, from its start to the end of all that it started. Threads take turns."""

    def __init__(
        self,
        settings: LakeSettings,
        environment: Environment,
        definition: Definition,
        name: str,
        memory: str,
        cancelled: Callable[[], bool],
        tell: Watch,
    ) -> None:
        self._definition, self._name, self._cancelled = definition, name, cancelled
        self._turn = threading.Lock()
        self._returns: Any = None
        self._folder = Path(tempfile.mkdtemp(prefix="lakehouse-function-", dir=settings.temp_directory)).resolve()
        self._channel, theirs = socket.socketpair()
        self.alive = True
        isolation = python_cell.bubblewrap(settings.python_sandbox)
        work = self._folder / "work"
        work.mkdir(mode=0o700)
        file = self._folder / "specification.json"
        try:
            limits = python_cell.limits(amount(memory) + _MARGIN, isolated=isolation is not None)
            file.write_text(
                json.dumps(self._specification(environment, limits, theirs.fileno(), settings.module_paths)),
                encoding="utf-8",
            )
            inner = [str(environment.interpreter), "-I", "-S", "-u", str(_RUNNER), str(file)]
            cell = Cell(
                visible=(environment.prefix, *environment.folders, _RUNNER, file, *map(Path, settings.module_paths)),
                private=work,
            )
            self._process = CellProcess(isolation, cell, inner, cpus=1, channels=(theirs.fileno(),))
        except BaseException:
            self._channel.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            theirs.close()
        self._output = Output(tell, self._process.pipes, self._process.popen.pid)
        self._channel.setblocking(False)
        try:
            self._talk(None)
        except BaseException:
            self.close()
            raise

    def _specification(
        self, environment: Environment, limits: dict[str, int], channel: int, modules: tuple[str, ...]
    ) -> dict[str, Any]:
        return {
            "channel": channel,
            "folders": [str(path) for path in environment.folders],
            "limits": limits,
            "modules": modules,
            **specification(self._definition),
        }

    def call(self, columns: Sequence[Any]) -> Any:
        """The results for columns of arguments, as an Arrow array of the type that DuckDB wants."""
        import pyarrow as pa

        with self._turn:
            rows = len(columns[0])
            returns = self._return_type()
            arguments = columns if self._definition.signatures[0].arguments else ()
            names = [f"a{number}" for number in range(len(arguments))]
            table = pa.table([*arguments, pa.nulls(rows, returns)], names=[*names, "result"])
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            try:
                answer = self._talk(memoryview(sink.getvalue()))
            except BaseException:
                self.close()
                raise
            try:
                with pa.ipc.open_stream(answer) as reader:
                    found = reader.read_all()
                sound.check(found)
            except (pa.ArrowException, TableError, OSError) as error:
                raise self._wrong(f"what its process answered cannot be read: {error}") from error
            if found.num_rows != rows or found.num_columns != 1 or found.schema.field(0).type != returns:
                raise self._wrong("its process answered other results than it was asked for")
            return found.column(0)

    def _return_type(self) -> Any:
        """The Arrow type of DuckDB's for results."""
        if self._returns is None:
            _, gives = native_types(self._definition)
            with duckdb.connect(":memory:") as connection:
                self._returns = (
                    connection.sql(f"SELECT CAST(NULL AS {gives}) AS r").to_arrow_table().schema.field(0).type
                )
        return self._returns

    def _talk(self, request: memoryview | None) -> bytes:
        """Send a request (None: it only has to begin), and wait for the answer."""
        left = [] if request is None else [memoryview(struct.pack(">Q", len(request))), request.cast("B")]
        answer = bytearray()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._channel, selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0))
                while (message := _complete(answer)) is None:
                    self._step(selector, left, answer)
        except ConnectionError:
            raise self._died() from None
        while self._output.read(0):
            pass
        kind, body = message[:1], message[1:]
        if kind != function_runner.OK:
            raise self._wrong(body.decode(errors="replace"))
        return body

    def _step(self, selector: selectors.BaseSelector, left: list[memoryview], answer: bytearray) -> None:
        """Send and receive what goes at once, and pass on what was printed. Raises ``ConnectionError`` at the end."""
        if self._cancelled():
            raise JobCancelled(f"the job was cancelled while the function {self._name} ran")
        for _, events in selector.select(_TICK_SECONDS):
            with contextlib.suppress(BlockingIOError):
                if events & selectors.EVENT_READ:
                    data = self._channel.recv(_CHUNK)
                    if not data:
                        raise ConnectionResetError
                    answer += data
                if events & selectors.EVENT_WRITE:
                    _send(self._channel, left)
        if not left:
            selector.modify(self._channel, selectors.EVENT_READ)
        while self._output.read(0):
            pass

    def _wrong(self, why: str) -> FunctionError:
        return FunctionError(f"Python function {self._name} failed: {why}")

    def _died(self) -> LakehouseError:
        """What it means that the process is gone before it has answered."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.popen.wait(1)
        while self._output.read(0):
            pass
        code = self._process.popen.poll()
        number = -code if code is not None and code < 0 else (code or 0) - 128
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            return self._wrong(
                f"its process was ended by {name}, for want of memory or by a fault of native code mostly; give the "
                "model more `memory`, or look at what stderr said"
            )
        said = f"; it said last: {self._output.last}" if self._output.last else ""
        return self._wrong(f"its process ended (exit code {code}) before it had answered{said}")

    def close(self) -> None:
        """End the process and all that it started."""
        if not self.alive:
            return
        self.alive = False
        self._channel.close()
        self._process.end()
        self._output.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _send(channel: socket.socket, left: list[memoryview]) -> None:
    """Send as much of the pieces as goes at once."""
    while left:
        sent = channel.send(left[0][:_CHUNK])
        left[0] = left[0][sent:]
        if not len(left[0]):
            left.pop(0)


def _complete(answer: bytearray) -> bytes | None:
    """The message, once it is all there."""
    if len(answer) < 8:
        return None
    length = struct.unpack(">Q", answer[:8])[0]
    if length > _LONGEST:
        raise FunctionError("a Python function's process answered something that is no answer")
    return bytes(answer[8 : 8 + length]) if len(answer) >= 8 + length else None
