"""The pool's side of a worker process: start it, give it a job, hear it out, end it."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.errors import WorkerDied, error_from_json
from dbt.adapters.lakehouse.executors.frames import Channel, ChunkReader, pair
from dbt.adapters.lakehouse.jobs.job import (
    Job,
    JobResult,
    LogLine,
    Progress,
    Query,
    Watch,
    job_to_json,
    result_from_json,
)
from dbt.adapters.lakehouse.jobs.rows import ArrowRows
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Column

_MODULE = "dbt.adapters.lakehouse.executors.process"
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_START_SECONDS = 60
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LINE = 8192
_LAST = 5
_DUMP = ("Current thread 0x", "Thread 0x")


class WorkerProcess:
    """One process with one warm worker. One job at a time; ``cancel`` and ``kill`` may come from any thread."""

    def __init__(self, settings: LakeSettings, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it, from a thread that lives as long. ``folder`` is its own, for what it spills, and goes with it."""
        folder.mkdir(parents=True, mode=0o700)
        self._folder = folder
        self.jobs = 0
        self.stateful = False
        self.session: object = None
        self.idle_since = time.monotonic()
        own, other = pair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-P", "-m", _MODULE, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=bare_environment(folder, environment),
                cwd=folder,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._channel = Channel(own)
        self._output = {stream.fileno(): _Lines(stream, name) for stream, name in self._streams()}
        for descriptor in self._output:
            os.set_blocking(descriptor, False)
        self._poll = select.poll()
        for descriptor in (self._channel.fileno(), *self._output):
            self._poll.register(descriptor, select.POLLIN)
        self._settings = replace(settings, temp_directory=str(folder))

    def _streams(self) -> Iterator[tuple[Any, str]]:
        yield self._process.stdout, "stdout"
        yield self._process.stderr, "stderr"

    def greet(self) -> None:
        """Wait until it is ready. Raises what kept it from that."""
        said = LastWords()
        with self._deaths(said):
            self._channel.send({"kind": "start", "settings": asdict(self._settings)})
            head = self._next(said.hear, time.monotonic() + _START_SECONDS)
            self._channel.body()
            if head["kind"] == "error":
                raise error_from_json(head["error"])
        self.base_memory = self._data_memory()

    def run(self, job: Job, watch: Watch, *, session: object = None) -> JobResult:
        """Run a job. Raises what it raises, and ``WorkerDied`` if the process ended."""
        said = LastWords()
        with self._deaths(said):
            self._ask(job, session, stream=False)
            head = self._answer(said.listening(watch))
            body = self._channel.body()
            self._drain(watch)
            return _result(self._conclude(head), job, body)

    def stream(self, job: Job, watch: Watch, *, session: object = None) -> Chunks:
        """Run a query up to its first rows. Raises as ``run`` does."""
        said = LastWords()
        listening = said.listening(watch)
        with self._deaths(said):
            self._ask(job, session, stream=True)
            head = self._answer(listening)
            self._channel.body()
            if head["kind"] == "columns":
                return Chunks(self, tuple(Column(**column) for column in head["columns"]), listening, said)
            self._conclude(head)
        return Chunks(self, (), listening, said, ended=True)

    def chunks(self, watch: Watch, said: LastWords) -> Iterator[int]:
        """The sizes of a stream's chunks, each to be read before the next. Raises as ``run`` does."""
        while True:
            with self._deaths(said):
                head = self._answer(watch)
            if head["kind"] != "chunk":
                with self._deaths(said):
                    self._channel.body()
                    self._drain(watch)
                    self._conclude(head)
                return
            with self._deaths(said):
                yield self._size

    @property
    def channel(self) -> Channel:
        """What its frames come through."""
        return self._channel

    def _ask(self, job: Job, session: object, *, stream: bool) -> None:
        self.jobs += 1
        fresh = self.session is not session or session is None
        self.session = session
        self._drain(None)
        self._channel.send({"kind": "job", "stream": stream, "fresh": fresh}, job_to_json(job).encode())

    def _answer(self, watch: Watch) -> dict[str, Any]:
        while (head := self._next(watch))["kind"] == "watch":
            self._channel.body()
            watch(_event(head["event"]))
        return head

    def _conclude(self, head: dict[str, Any]) -> dict[str, Any]:
        self.stateful = bool(head["stateful"])
        if head["kind"] == "error":
            raise error_from_json(head["error"])
        if head["kind"] != "result":
            raise ValueError(f"a frame of kind {head['kind']!r} ends no job")
        return head

    def _next(self, watch: Watch, until: float | None = None) -> dict[str, Any]:
        """The next frame's head; meanwhile what the process prints is passed on, so that it is never held up."""
        while True:
            timeout = None if until is None else max(0.0, until - time.monotonic()) * 1000
            ready = {descriptor for descriptor, _ in self._poll.poll(timeout)}
            if not ready:
                raise EOFError
            for descriptor in ready & self._output.keys():
                if not self._output[descriptor].read(watch):
                    self._poll.unregister(descriptor)
            if self._channel.fileno() in ready:
                head, self._size = self._channel.receive()
                return head

    def _drain(self, watch: Watch | None) -> None:
        for lines in self._output.values():
            lines.read(watch)
            lines.flush(watch)

    @contextlib.contextmanager
    def _deaths(self, said: LastWords) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            # Also where it talks nonsense: it ran code of others.
            self.kill()
            with contextlib.suppress(OSError, ValueError):
                self._drain(said.hear)
            raise Died(self._process.wait(), said.lines()) from error

    def cancel(self) -> None:
        """Interrupt the job; the process is of no use afterwards."""
        with contextlib.suppress(OSError):
            self._channel.send_if_free({"kind": "cancel"})

    def kill(self) -> None:
        """End the process and all that it started, now. Whoever waits for it gets ``WorkerDied``."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process, wait for it, and remove what it left. Idempotent."""
        self.kill()
        self._process.wait()
        self._channel.close()
        for stream, _ in self._streams():
            stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def limit_memory(self, size: int | None) -> None:
        """Let the process have so much memory beyond what it had when it was new; None lifts the limit."""
        import resource

        if hasattr(resource, "prlimit"):
            soft = resource.RLIM_INFINITY if size is None else self.base_memory + size
            with contextlib.suppress(ProcessLookupError, PermissionError):
                _, hard = resource.prlimit(self.pid, resource.RLIMIT_DATA)
                resource.prlimit(self.pid, resource.RLIMIT_DATA, (soft, hard))

    def resident(self) -> int:
        """Bytes of memory that the process holds; 0 where the system does not tell."""
        with contextlib.suppress(OSError, IndexError):
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        return 0

    def _data_memory(self) -> int:
        """What ``RLIMIT_DATA`` counts: private writable memory, stacks included."""
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
        return 0


class LastWords:
    """The last lines that a process printed before it died; Python's own dump of its threads is for the log alone."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LAST)
        self._dumps = False

    def hear(self, event: Progress | LogLine) -> None:
        """Remember what is printed."""
        if isinstance(event, LogLine):
            self._dumps = self._dumps or event.text.startswith(_DUMP)
            if event.text.strip() and not self._dumps:
                self._lines.append(event.text)

    def listening(self, watch: Watch) -> Watch:
        """The same watch, which remembers what it hears."""

        def listen(event: Progress | LogLine) -> None:
            self.hear(event)
            watch(event)

        return listen

    def lines(self) -> list[str]:
        """Those that are not empty, oldest first."""
        return list(self._lines)


class Died(WorkerDied):
    """A worker process ended in mid-job. ``signal`` is 0 where it exited by itself."""

    def __init__(self, code: int, words: Sequence[str]) -> None:
        self.signal = -code if code < 0 else 0
        how = f"was killed by {signal.Signals(self.signal).name}" if self.signal else f"exited with code {code}"
        last = f"; it said last: {' | '.join(words)}" if words else ""
        super().__init__(f"the worker process {how}{last}")


class Chunks:
    """Rows of a query that still runs in its worker. The worker is busy until they are read to the end, or ``close``."""

    def __init__(
        self,
        process: WorkerProcess,
        columns: tuple[Column, ...],
        watch: Watch,
        said: LastWords,
        *,
        ended: bool = False,
    ) -> None:
        self.columns = columns
        self._process = process
        self.sizes = iter(()) if ended else process.chunks(watch, said)

    def file(self, sizes: Iterator[int]) -> ChunkReader:
        """The IPC stream as a file; ``sizes`` are those of its chunks, ``self.sizes`` or what wraps them."""
        return ChunkReader(self._process.channel, sizes)


class _Lines:
    """Lines of a pipe that does not block."""

    def __init__(self, stream: Any, name: Any) -> None:
        self._stream = stream
        self._name = name
        self._rest = b""

    def read(self, watch: Watch | None) -> bool:
        """Pass on what is there; False at its end."""
        while True:
            try:
                data = os.read(self._stream.fileno(), 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _LINE:
                lines, self._rest = [*lines, self._rest], b""
            for line in lines:
                self._tell(line, watch)

    def flush(self, watch: Watch | None) -> None:
        """Pass on a last line without an end."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._tell(rest, watch)

    def _tell(self, line: bytes, watch: Watch | None) -> None:
        if watch is not None:
            watch(LogLine(text=line.decode(errors="replace").rstrip("\r"), stream=self._name))


def bare_environment(folder: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """For a process whose home is ``folder``: nothing of the service's own environment that could be a secret."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONFAULTHANDLER": "1", **extra}


def _event(value: dict[str, Any]) -> Progress | LogLine:
    return Progress(**value) if value.get("kind") == "progress" else LogLine(**value)


def _result(head: dict[str, Any], job: Job, ipc: Any) -> JobResult:
    result = result_from_json(head["result"])
    if not len(ipc):
        return result
    if isinstance(job.action, Query) and job.action.arrow:
        import pyarrow as pa

        with pa.ipc.open_stream(pa.py_buffer(ipc)) as reader:
            return replace(result, arrow=reader.read_all())
    return replace(result, rows=ArrowRows(ipc))
