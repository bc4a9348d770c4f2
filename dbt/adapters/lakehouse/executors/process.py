"""What a worker process runs: ``python -m dbt.adapters.lakehouse.executors.process FD``.

It takes frames from the socket that it was given: ``start`` (settings) once, then ``job`` and ``cancel``. It answers
``ready``, ``watch``, ``columns``, ``chunk`` and, once a job, ``result`` or ``error``. When the other end is gone, so is it, and
with it whatever it started: it leads a process group of its own.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import sys
import threading
import traceback
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import duckdb

from dbt.adapters.lakehouse.errors import JobError, LakehouseError, OutOfMemory, error_to_json
from dbt.adapters.lakehouse.executors.frames import Channel, ChunkWriter
from dbt.adapters.lakehouse.executors.parent import die_with_parent
from dbt.adapters.lakehouse.jobs import rows
from dbt.adapters.lakehouse.jobs.job import (
    Job,
    LogLine,
    Progress,
    Query,
    job_from_json,
    result_to_json,
)
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    import pyarrow as pa

_STATELESS = ("SELECT", "EXPLAIN", "INSERT", "UPDATE", "DELETE", "MERGE_INTO", "COPY", "CALL")
_PLAIN_SELECT = re.compile(r"\s*(select|with|from|values|explain|describe|show)\b[^;]*;?\s*", re.IGNORECASE)


def main(descriptor: int) -> None:
    """Serve until killed: what it leaves is for the pool to remove."""
    os.set_inheritable(descriptor, False)
    # The end of the socket says it too, but not to a thread that is kept from running by native code.
    die_with_parent()
    channel = Channel(socket.socket(fileno=descriptor))
    head, _ = channel.receive()
    settings = LakeSettings(**head["settings"])
    # Warm before the first job: what every answer needs.
    import pyarrow.ipc  # noqa: F401

    try:
        worker = Worker(replace(settings, duckdb_settings=_lossless(settings)), isolate_python=True)
    except LakehouseError as error:
        channel.send({"kind": "error", "error": error_to_json(error)})
        return
    server = Server(channel, worker)
    threading.Thread(target=server.listen, daemon=True).start()
    channel.send({"kind": "ready"})
    server.work()


def _lossless(settings: LakeSettings) -> dict[str, str]:
    return {**settings.duckdb_settings, "arrow_lossless_conversion": "true"}


class Server:
    """Runs the jobs of one channel in the main thread, while another listens."""

    def __init__(self, channel: Channel, worker: Worker) -> None:
        self._channel = channel
        self._worker = worker
        self._jobs: queue.SimpleQueue[tuple[dict[str, Any], Any]] = queue.SimpleQueue()
        self._stateful = False

    def listen(self) -> None:
        """Take what comes; without the other end, end."""
        try:
            while True:
                head, _ = self._channel.receive()
                body = self._channel.body()
                if head["kind"] == "cancel":
                    self._worker.cancel()
                else:
                    self._jobs.put((head, body))
        finally:
            os.killpg(0, signal.SIGKILL)

    def work(self) -> None:
        """Run jobs, until the process is killed."""
        self._worker.begin()
        while True:
            head, body = self._jobs.get()
            if head.get("fresh"):
                self._worker.end()
                self._worker.begin()
                self._stateful = False
            self._job(job_from_json(bytes(body).decode()), stream=bool(head.get("stream")))

    def _job(self, job: Job, *, stream: bool) -> None:
        answer = Answer(self._channel, job, stream=stream)
        self._stateful = self._stateful or keeps_state(job)
        try:
            result = self._worker.run(job, self._watch, answer.sink)
        except BaseException as error:
            self._channel.send({"kind": "error", "error": _explain(error), "stateful": self._stateful})
        else:
            head = {"kind": "result", "result": result_to_json(result), "stateful": self._stateful}
            self._channel.send(head, *([] if answer.ipc is None else [answer.ipc]))

    def _watch(self, event: Progress | LogLine) -> None:
        self._channel.send({"kind": "watch", "event": asdict(event)})


class Answer:
    """Where the rows of one job go: into ``ipc``, or straight to the other end."""

    def __init__(self, channel: Channel, job: Job, *, stream: bool) -> None:
        self._channel = channel
        self._stream = stream
        self._query = job.action if isinstance(job.action, Query) else Query(sql="")
        self.ipc: pa.Buffer | None = None

    def sink(self, columns: tuple[Column, ...], reader: pa.RecordBatchReader) -> None:
        """See ``jobs.job.Sink``."""
        import pyarrow as pa

        if self._query.arrow:
            reader = rows.plain(reader)
        if not self._stream:
            self.ipc = rows.encode(reader, self._query.limit)
            return
        self._channel.send({"kind": "columns", "columns": [asdict(column) for column in columns]})
        file = ChunkWriter(self._channel)
        with pa.ipc.new_stream(file, reader.schema) as writer:
            for batch in rows.first(reader, self._query.limit):
                writer.write_batch(batch)
        file.flush()


def keeps_state(job: Job) -> bool:
    """Whether a job may leave something in its session that a later one can see: a temporary table, a setting."""
    action = job.action
    if job.setup:
        return True
    # Python models, too, leave nothing: in a worker process each has another one of its own.
    if not isinstance(action, Query) or _PLAIN_SELECT.fullmatch(action.sql):
        return False
    try:
        statements = rows.connection().extract_statements(action.sql)
    except duckdb.Error:
        return False
    return any(statement.type.name not in _STATELESS for statement in statements)


def _explain(error: BaseException) -> dict[str, Any]:
    if isinstance(error, LakehouseError):
        return error_to_json(error)
    if isinstance(error, MemoryError):
        return error_to_json(OutOfMemory("the job needs more memory than its process may have; give it more memory"))
    traceback.print_exception(error)
    return error_to_json(JobError(f"the worker failed with {type(error).__name__}: {error}; its log has the traceback"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
