"""Runs a Python model in a process of its own, with its own packages, and gives its rows as they lie in a file.

The process gets a specification (``python_runner``), a folder of its own, and the SQL of its inputs over exact files; it
answers with an Arrow IPC file that is mapped into memory here. Nothing that it leaves is trusted: not the kind of its
files, not what is in them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import duckdb

from dbt.adapters.lakehouse.errors import (
    JobCancelled,
    JobTimeout,
    LakehouseError,
    OutOfMemory,
    PythonModelError,
    TableError,
    error_kinds,
)
from dbt.adapters.lakehouse.jobs import function_sql, python_cell, sound
from dbt.adapters.lakehouse.jobs.job import Input, Job, LogLine, PythonCode, Watch
from dbt.adapters.lakehouse.jobs.python_cell import Cell, CellProcess
from dbt.adapters.lakehouse.jobs.python_env import Environment, Environments
from dbt.adapters.lakehouse.quoting import qualified, quote
from dbt.adapters.lakehouse.settings import LakeSettings

if TYPE_CHECKING:
    import pyarrow as pa

MOST_PROCESSES = 256
MOST_OUTPUT = 10_000_000
_LINE = 8192
_MOST_LINES = 100_000
_TICK_SECONDS = 0.05
_COUNT_SECONDS = 0.25
_GRACE_SECONDS = 0.3
_MARGIN = 512 * 1024**2
"""Memory of the process beyond DuckDB's limit: interpreter, libraries, the stacks of threads."""

_MOST_OUTCOME = 1_000_000
_BATCH_ROWS = 122_880
_RUNNER = Path(__file__).with_name("python_runner.py")
_PACKAGE = Path(__file__).parents[1]
_ROOT = Path(__file__).parents[4]
# Settings that change what SQL means or gives. Others may be secrets, or are not the model's business.
_PASSED_ON = frozenset(
    {"timezone", "calendar", "default_order", "default_null_order", "integer_division", "preserve_insertion_order"}
    | {"default_collation", "ieee_floating_point_ops", "old_implicit_casting", "order_by_non_integer_literal"}
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One execution of a model: the job it is of, the connection that has its inputs bound, who listens, who cancels."""

    code: PythonCode
    job: Job
    cursor: duckdb.DuckDBPyConnection
    watch: Watch | None
    cancelled: Callable[[], bool]


class PythonProcesses:
    """Runs models one at a time. With ``foreign`` code is not that of this machine's own user."""

    def __init__(self, settings: LakeSettings, *, foreign: bool = False) -> None:
        self._settings = settings
        self._foreign = foreign
        self._environments = Environments(settings.environments, wheels_only=foreign)
        self._warned = False

    @contextlib.contextmanager
    def rows(self, call: Call) -> Iterator[pa.Table]:
        """The rows that a model returns, as long as the context lasts.

        Raises ``PythonModelError``, ``OutOfMemory``, ``SqlError``, ``JobCancelled``, ``JobTimeout``, ``ConfigError``.
        """
        until = time.monotonic() + call.job.resources.timeout if call.job.resources.timeout is not None else None
        isolation = python_cell.bubblewrap(self._settings.python_sandbox)
        if isolation is None:
            self._warn(call)
        environment = self._environments.get(call.code, call.cancelled)
        folder = Path(tempfile.mkdtemp(prefix="lakehouse-python-", dir=self._settings.temp_directory)).resolve()
        try:
            work = folder / "work"
            work.mkdir(mode=0o700)
            cell = self._specify(call, environment, folder, isolation is not None)
            _Process(call, cell, isolation, environment, folder / "specification.json").wait(until)
            _judge(work / "outcome.json")
            with _opened(work / "result.arrow") as table:
                yield table
        finally:
            _remove(folder)
            self._environments.compile(environment)
            self._environments.collect()

    def _warn(self, call: Call) -> None:
        if self._warned or self._settings.python_sandbox == "off" or call.watch is None:
            return
        self._warned = True
        text = python_cell.warning("Python models run in processes of their own")
        call.watch(LogLine(text=text, stream="executor"))

    def _specify(self, call: Call, environment: Environment, folder: Path, isolated: bool) -> Cell:
        """Write down what the process needs to know, and say what it needs to see."""
        code, cursor = call.code, call.cursor
        row = cursor.execute("SELECT current_setting('memory_limit'), current_setting('threads')").fetchone()
        assert row is not None
        memory, threads = call.job.resources.memory or str(row[0]), int(row[1])
        bound = _Inputs(call, folder / "inputs")
        inputs = bound.inputs()
        extensions = _extensions(self._settings.extensions)
        work = folder / "work"
        specification = {
            "folders": [str(path) for path in environment.folders],
            "root": str(_ROOT),
            "modules": list(code.modules),
            "duckdb": duckdb.__version__,
            "code": code.code,
            "path": code.path,
            "lines_before": min(code.line, _MOST_LINES),
            "config": {"temp_directory": str(work / "spill"), "memory_limit": memory, "threads": threads},
            "extensions": extensions,
            "settings": _settings(self._settings.duckdb_settings, cursor),
            "databases": sorted({quote(d) for d in (call.job.database, *(item.database for item in call.job.inputs))}),
            "schemas": sorted(
                {f"{quote(call.job.database)}.{quote(call.job.default_schema)}"}
                | {f"{quote(item.database)}.{quote(item.schema)}" for item in call.job.inputs}
            ),
            "home": f"{quote(call.job.database)}.{quote(call.job.default_schema)}",
            "inputs": inputs,
            "temporary": bound.temporary(),
            "statements": [*call.job.definitions, *call.job.setup, *bound.views()],
            "limits": python_cell.limits(amount(memory) + _MARGIN, isolated=isolated),
            "result": str(work / "result.arrow"),
            "outcome": str(work / "outcome.json"),
        }
        (folder / "specification.json").write_text(json.dumps(specification), encoding="utf-8")
        visible = [environment.prefix, *environment.folders, _PACKAGE, folder / "specification.json", folder / "inputs"]
        visible += [path for path in map(Path, code.modules) if path.is_dir()]
        return Cell(
            visible=(*visible, *map(Path, extensions), *map(Path, bound.files)),
            private=work,
            internet=code.internet_access,
        )


class _Inputs:
    """What the model's connection is to have: views over exact files, or the rows themselves in a file each."""

    def __init__(self, call: Call, folder: Path) -> None:
        self._call = call
        self._folder = folder
        self.files: list[str] = []
        self._count = 0

    def inputs(self) -> list[dict[str, Any]]:
        """The job's inputs by name: with SQL where the process can read the files itself."""
        items = self._call.job.inputs
        from dbt.adapters.lakehouse.tables import metadata, reader

        functions = [_function(item) for item in items if item.function is not None]
        relations = [item for item in items if item.function is None]
        names: set[str] = set()
        for location in {item.metadata_location for item in items if item.metadata_location is not None}:
            table = metadata.load(location)
            names.update(name for file in (*table.data, *table.deletes) for name in reader.names(file.path)[:1])
        beside = any(item.attached for item in items)  # which the process could not reach by itself
        if not beside and len(names) <= python_cell.MOST_FILES and all(name.startswith("/") for name in names):
            self.files = sorted(names)
            return [
                _function(item)
                if item.function is not None
                else {"name": _name(item), "sql": _select(item), "arrow": None}
                for item in items
            ]
        # What a view reads need not be there by itself. Whatever the model can name stands in its code.
        read = [item for item in relations if _name(item) in self._call.code.code]
        staged = [{"name": _name(item), "sql": None, "arrow": self._stage(_name(item))} for item in read]
        return [*staged, *functions]

    def temporary(self) -> list[dict[str, str]]:
        """The session's temporary tables, with their rows."""
        tables = self._call.cursor.execute(
            "SELECT table_name FROM duckdb_tables() WHERE temporary AND NOT internal AND left(table_name, 11) <> '__lakehouse'"
        ).fetchall()
        return [{"name": quote(name), "arrow": self._stage(f"temp.main.{quote(name)}")} for (name,) in tables]

    def views(self) -> list[str]:
        """Statements that make the session's temporary views."""
        rows = self._call.cursor.execute(
            "SELECT sql FROM duckdb_views() WHERE temporary AND NOT internal AND left(view_name, 11) <> '__lakehouse'"
        ).fetchall()
        return [sql for (sql,) in rows if sql]

    def _stage(self, name: str) -> str:
        """Copy a relation's rows to a file of the process's own, which it maps into memory."""
        import pyarrow as pa

        self._folder.mkdir(exist_ok=True)
        self._count += 1
        path = str(self._folder / f"{self._count}.arrow")
        with _lossless(self._call.cursor):
            rows = self._call.cursor.sql(f"SELECT * FROM {name}").to_arrow_reader(_BATCH_ROWS)
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
                for batch in rows:
                    writer.write_batch(batch)
        return path


@contextlib.contextmanager
def _lossless(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Rows leave for Arrow in types from which DuckDB makes its own again."""
    row = cursor.execute("SELECT current_setting('arrow_lossless_conversion')").fetchone()
    if row is not None and row[0]:
        yield
        return
    cursor.execute("SET arrow_lossless_conversion = true")
    try:
        yield
    finally:
        cursor.execute("SET arrow_lossless_conversion = false")


def _name(item: Input) -> str:
    return qualified(item.database, item.schema, item.name)


def _function(item: Input) -> dict[str, Any]:
    """What makes a function of the lake in the process; one in Python must do with the model's own packages."""
    assert item.function is not None
    made, native = item.function, None
    if made.language == "python":
        takes, gives = function_sql.native_types(made)
        native = {
            **function_sql.specification(made),
            "native": made.native,
            "takes": takes,
            "gives": gives,
            "kept": not made.each_time,
        }
    return {"function": [*function_sql.macros(item.database, item.schema, item.name, made)], "python": native}


def _select(item: Input) -> str:
    if item.sql is not None:
        return item.sql
    if item.metadata_location is None:
        nulls = ", ".join(f"NULL::{column.type} AS {quote(column.name)}" for column in item.columns)
        return f"SELECT {nulls or 'NULL AS nothing'} WHERE false"
    from dbt.adapters.lakehouse.tables import reader

    return reader.select_sql(item.metadata_location)


def _extensions(names: tuple[str, ...]) -> list[str]:
    """The files of extensions that are installed as packages; the process cannot fetch others."""
    import importlib.util

    found = []
    for name in names:
        module = importlib.util.find_spec(f"duckdb_extension_{name}")
        for folder in (module.submodule_search_locations or ()) if module is not None else ():
            file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
            if file.exists():
                found.append(str(file))
    return found


def _settings(configured: Mapping[str, str], cursor: duckdb.DuckDBPyConnection) -> dict[str, str]:
    found = {name.lower(): str(value) for name, value in configured.items()}
    row = cursor.execute("SELECT current_setting('TimeZone')").fetchone()
    found["timezone"] = str(row[0]) if row is not None else "UTC"
    return {name: value.replace("'", "''") for name, value in found.items() if name in _PASSED_ON}


_AMOUNT = re.compile(r"([\d.]+)\s*([kmgt]?)(i?)b?(?:ytes)?", re.IGNORECASE)


def amount(text: str) -> int:
    """An amount of memory as DuckDB writes it (``1.5 GiB``), in bytes."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no amount of memory")
    power = "kmgt".find(found[2].lower()) + 1 if found[2] else 0
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


class _Process:
    """The process of one model, from its start to the end of all that it started."""

    def __init__(
        self, call: Call, cell: Cell, isolation: tuple[str, ...] | None, environment: Environment, specification: Path
    ) -> None:
        self._call = call
        inner = [str(environment.interpreter), "-I", "-S", "-u", str(_RUNNER), str(specification)]
        cpus = call.job.resources.cpus or os.cpu_count() or 1
        self._process = CellProcess(isolation, cell, inner, cpus=cpus)
        self._output = Output(call.watch, self._process.pipes, self._process.popen.pid)

    def wait(self, until: float | None) -> None:
        """Wait for its end, passing on what it prints. Raises what kept it from ending well."""
        try:
            self._watch(until)
        finally:
            self._end()
        code = self._process.popen.returncode
        if code != 0:
            raise _death(code, isolated=self._process.isolated, said=self._output.last)

    def _watch(self, until: float | None) -> None:
        counted = time.monotonic()
        while self._process.popen.poll() is None:
            self._output.read(_TICK_SECONDS)
            now = time.monotonic()
            if self._call.cancelled():
                raise JobCancelled("the job was cancelled while its Python model ran")
            if until is not None and now > until:
                self._terminate()
                limit = self._call.job.resources.timeout
                raise JobTimeout(f"the Python model did not end within its timeout of {limit:g} s and was stopped")
            if now - counted > _COUNT_SECONDS:
                counted = now
                if len(python_cell.descendants(self._process.popen.pid)) > MOST_PROCESSES:
                    raise PythonModelError(
                        f"the model started more than {MOST_PROCESSES} processes and was stopped; let it use fewer"
                    )

    def _terminate(self) -> None:
        """Ask it to end, and give it a moment."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.popen.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.popen.wait(_GRACE_SECONDS)

    def _end(self) -> None:
        """End the process and all that it started, and pass on what they printed last."""
        self._process.end()
        self._output.close()


class Output:
    """Lines of a process's pipes, passed on as they come, up to a measure."""

    def __init__(self, watch: Watch | None, pipes: Mapping[Any, IO[bytes]], pid: int) -> None:
        self._watch = watch
        self._left = MOST_OUTPUT
        self._rest = dict.fromkeys(pipes, b"")
        self._selector = selectors.DefaultSelector()
        self._pipes = list(pipes.values())
        self.last = ""
        for name, pipe in pipes.items():
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, name)
        # So that the end of the process is seen at once, whatever became of its pipes.
        self._end = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        if self._end is not None:
            self._selector.register(self._end, selectors.EVENT_READ)

    def read(self, seconds: float) -> bool:
        """Pass on what comes within so much time; False if nothing did."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return False
        ready = self._selector.select(seconds)
        some = False
        for key, _ in ready:
            if key.fd == self._end:
                self._selector.unregister(key.fileobj)
                continue
            data = os.read(key.fd, 1 << 16)
            if not data:
                self._selector.unregister(key.fileobj)
                continue
            some = True
            self._take(key.data, data)
        return some

    def _take(self, name: Any, data: bytes) -> None:
        if self._left <= 0:
            return
        self._left -= len(data)
        *lines, rest = (self._rest[name] + data).split(b"\n")
        while len(rest) > _LINE:
            lines, rest = [*lines, rest[:_LINE]], rest[_LINE:]
        self._rest[name] = rest
        for line in lines:
            for start in range(0, len(line) or 1, _LINE):
                self._tell(name, line[start : start + _LINE])
        if self._left <= 0:
            self._rest = dict.fromkeys(self._rest, b"")
            self._tell(
                "executor", f"the model printed more than {MOST_OUTPUT // 1_000_000} MB; the rest is not shown".encode()
            )

    def _tell(self, name: Any, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if name == "stderr" and text:
            self.last = text
        if self._watch is not None:
            self._watch(LogLine(text=text, stream=name))

    def close(self) -> None:
        """Pass on what is left, and close. Who else still holds the pipes is not waited for."""
        until = time.monotonic() + _GRACE_SECONDS
        while self._selector.get_map() and time.monotonic() < until and self.read(_TICK_SECONDS):
            pass
        for name, rest in self._rest.items():
            if rest:
                self._tell(name, rest)
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()
        if self._end is not None:
            os.close(self._end)


def _death(code: int, *, isolated: bool, said: str) -> LakehouseError:
    """What it means that the process ended without having said how it went."""
    number = -code if code < 0 else code - 128 if isolated and code > 128 else 0
    if number:
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            if number == signal.SIGKILL:
                return OutOfMemory(
                    "the process of the Python model was killed (SIGKILL), by the system for want of memory if not by "
                    "somebody; give the model more `memory`, or let it take less"
                )
            return PythonModelError(
                f"the process of the Python model was ended by {name}, a fault of native code mostly; stderr says where"
            )
    return PythonModelError(
        f"the process of the Python model exited with code {code} before the model had returned"
        + (f"; it said last: {said}" if said else "")
    )


def _judge(path: Path) -> None:
    """Raise what the process says of itself."""
    try:
        with _file(path) as file:
            outcome = json.loads(file.read(_MOST_OUTCOME))
        kind, message = str(outcome["kind"]), str(outcome.get("message", ""))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PythonModelError(
            "the process of the Python model ended before the model had returned (os._exit, or a closed file?)"
        ) from error
    if kind == "out_of_memory":
        raise OutOfMemory(
            f"the Python model needs more memory than it may have; give it more `memory`, or let it take less. It says: {message}"
        )
    if kind != "ok":
        known = {"sql", "python_model"}
        raise error_kinds()[kind if kind in known else "python_model"](message)


@contextlib.contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    """A regular file of the process, and no link to another that only we may read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        yield file


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pa.Table]:
    """The rows in an IPC stream, mapped into memory. They are checked: a wrong offset would lead anywhere."""
    import pyarrow as pa

    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_file(path))
            source = stack.enter_context(pa.memory_map(f"/dev/fd/{file.fileno()}"))
            with pa.ipc.open_stream(source) as reader:
                table = reader.read_all()
            sound.check(table)
        except (OSError, TableError, pa.ArrowException) as error:
            raise PythonModelError(f"the rows that the Python model's process left cannot be read: {error}") from error
        yield table


def _remove(folder: Path) -> None:
    """Remove a folder in which a process may have been writing until a moment ago."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        for path, folders, _ in os.walk(folder):
            for name in folders:
                with contextlib.suppress(OSError):
                    (Path(path) / name).chmod(0o700, follow_symlinks=False)
        time.sleep(_TICK_SECONDS)
