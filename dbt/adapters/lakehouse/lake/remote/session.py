"""A session whose work is done by a service: one request a statement, one a model."""

from __future__ import annotations

import struct
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode

import urllib3

from dbt.adapters.lakehouse.catalog.model import Entry
from dbt.adapters.lakehouse.errors import JobCancelled, LakehouseError, ServiceError
from dbt.adapters.lakehouse.jobs.job import LogLine, Progress, Watch
from dbt.adapters.lakehouse.lake.remote import rows, wire
from dbt.adapters.lakehouse.lake.remote.http import Body, Http
from dbt.adapters.lakehouse.run.details import Details
from dbt.adapters.lakehouse.run.values import Build, Built, Draft, Function, Looked, Name, Recalled, Result, Wish
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    import pyarrow as pa

_SENT_AT_MOST = 5


class RemoteSession:
    """See ``lake.base.Session``. The service makes its side of the session with the first request."""

    def __init__(self, http: Http, place: str, **where: str) -> None:
        self._http = http
        self._path = f"{place}/{uuid.uuid4().hex}"
        self._where = f"?{urlencode(where)}" if where else ""
        self._state: str | None = None
        self._used = False
        self._once = False
        self._cancelled = False

    @classmethod
    def of_run(cls, http: Http, run: str, node: str | None = None) -> RemoteSession:
        """A session of a run, which works on a node, if it is known."""
        return cls(http, f"/v1/runs/{run}/sessions", **({} if node is None else {"node": node}))

    @classmethod
    def at(cls, http: Http, commit: str, default_schema: str) -> RemoteSession:
        """A session that reads one commit."""
        return cls(http, "/v1/reads", commit=commit, default_schema=default_schema)

    @classmethod
    def once(cls, http: Http, ref: str, default_schema: str) -> RemoteSession:
        """A session for one statement, at what a ref leads to then. The service ends it with its answer."""
        session = cls(http, "/v1/reads", ref=ref, default_schema=default_schema, once="true")
        session._once = True
        return session

    # talking

    def _send(
        self, verb: str, body: Body, *, content: str = wire.JSON, stream: bool = False, key: str | None = None
    ) -> Any:
        if self._cancelled:
            raise JobCancelled("the session was cancelled")
        self._used = True
        response = self._http.send(
            "POST",
            f"{self._path}/{verb}{self._where}",
            body,
            content=content,
            key=key or uuid.uuid4().hex,
            headers={} if self._state is None else {wire.SESSION_HEADER: self._state},
            stream=stream,
        )
        self._state = response.headers.get(wire.SESSION_HEADER, self._state)
        return response

    def _ask(self, verb: str, request: Any, answer: Any) -> Any:
        return wire.load(answer, self._send(verb, wire.dump(type(request), request)).data)

    # reading

    def execute(self, sql: str, *, fetch: bool = True, limit: int | None = None, test: str | None = None) -> Result:
        """See ``lake.base.Session``."""
        request = wire.Execute(sql=sql, fetch=fetch, limit=limit, test=test)
        response = self._send("execute", wire.dump(wire.Execute, request))
        return rows.result_of(response.headers.get("Content-Type", ""), response.data)

    def arrow(self, sql: str) -> pa.Table:
        """See ``lake.base.Session``."""
        with self.batches(sql) as batches:
            return batches.table()

    def batches(self, sql: str) -> rows.Batches:
        """The rows of one SELECT as they arrive."""
        response = self._send("arrow", wire.dump(wire.Select, wire.Select(sql=sql)), stream=True)
        return rows.Batches(response)

    def describe(self, sql: str, setup: tuple[str, ...] = ()) -> tuple[Column, ...]:
        """See ``lake.base.Session``."""
        columns: tuple[Column, ...] = self._ask(
            "describe", wire.DescribeSelect(sql=sql, setup=tuple(setup)), tuple[Column, ...]
        )
        return columns

    def bind(self, drafts: Sequence[Draft]) -> list[Looked]:
        """See ``lake.base.Session``."""
        looked: list[Looked] = self._ask("bind", wire.BindDrafts(drafts=tuple(drafts)), list[Looked])
        return looked

    def lookup(self, name: Name) -> Entry | None:
        """See ``lake.base.Session``."""
        entry: Entry | None = self._ask("lookup", wire.Lookup(name=name), Entry | None)
        return entry

    def relations(self, database: str, schema: str | None = None) -> list[Entry]:
        """See ``lake.base.Session``."""
        entries: list[Entry] = self._ask("relations", wire.Relations(database=database, schema=schema), list[Entry])
        return entries

    def details(self, names: Sequence[Name]) -> list[Details | None]:
        """See ``lake.base.Session``."""
        if not names:
            return []
        found: list[Details | None] = self._ask("details", wire.Look(names=tuple(names)), list[Details | None])
        return found

    def schemas(self, database: str) -> list[str]:
        """See ``lake.base.Session``."""
        names: list[str] = self._ask("schemas", wire.Schemas(database=database), list[str])
        return names

    # writing

    def recall(self, wishes: Sequence[Wish]) -> list[Recalled | None]:
        """See ``lake.base.Session``. What is made of files of this machine the service knows once it has their rows."""
        if not wishes:
            return []
        asked = tuple(wish if wish.build is None or not wish.build.local else Wish(id=wish.id) for wish in wishes)
        answers: list[Recalled | None] = self._ask("recall", wire.Recall(wishes=asked), list[Recalled | None])
        return answers

    def create_view(self, name: Name, sql: str, **more: Any) -> Built:
        """See ``lake.base.Session``."""
        given = {key: value for key, value in more.items() if value is not None}
        built: Built = self._ask("create_view", wire.CreateView(name=name, sql=sql, **given), Built)
        return built

    def create_function(self, function: Function, *, rebuild: bool = False) -> Built:
        """See ``lake.base.Session``."""
        request = wire.CreateFunction(function=function, rebuild=rebuild)
        built: Built = self._ask("create_function", request, Built)
        return built

    def build(self, build: Build, watch: Watch | None = None) -> Built:
        """See ``lake.base.Session``."""
        if not build.local:
            return self._built(wire.dump(Build, build), wire.JSON, watch)
        with tempfile.TemporaryDirectory(prefix="lakehouse-rows-") as folder:
            file = Path(folder, "build")
            assert build.sql is not None
            head = wire.dump(Build, _without_rows(build))
            with file.open("wb") as target:
                target.write(struct.pack(">I", len(head)) + head)
                rows.write_local(build.sql, target)
            return self._built(lambda: _open(file), wire.BUILD_WITH_ROWS, watch)

    def _built(self, body: Body, content: str, watch: Watch | None) -> Built:
        key = uuid.uuid4().hex
        for _ in range(_SENT_AT_MOST):
            response = self._send("build", body, content=content, stream=True, key=key)
            try:
                return _last(_lines(response), watch)
            except (urllib3.exceptions.HTTPError, OSError):
                # The service ended in the middle of its answer: by its key it knows the build again.
                continue
            finally:
                response.release_conn()
        raise ServiceError(f"the service broke off {_SENT_AT_MOST} times before it said what came of the build")

    # ending

    def cancel(self) -> None:
        """See ``lake.base.Session``."""
        self._cancelled = True
        if self._used:
            self._http.send("POST", f"{self._path}/cancel{self._where}", patience=1.0)

    def close(self) -> None:
        """See ``lake.base.Session``."""
        if self._used and not self._once:
            self._used = False
            # What is not closed ends with its run, or with the lease.
            try:
                self._http.send("POST", f"{self._path}/close{self._where}", patience=1.0)
            except LakehouseError:
                return


def _without_rows(build: Build) -> Build:
    import dataclasses

    return dataclasses.replace(build, sql=None)


def _open(file: Path) -> IO[bytes]:
    return file.open("rb")


def _lines(response: Any) -> Iterator[bytes]:
    """The lines of an answer as they come."""
    rest = b""
    for chunk in response.stream(1 << 16, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _last(lines: Iterator[bytes], watch: Watch | None) -> Built:
    """Tell of what happens on the way; the last line is what came of it."""
    for line in lines:
        event: wire.Event = wire.load(wire.Event, line)
        said = event.said
        if isinstance(said, Progress | LogLine):
            if watch is not None:
                watch(said)
        elif isinstance(said, wire.ErrorDocument):
            raise wire.error_of(said)
        elif said is not None:
            return said
    raise ServiceError("the service's answer ended before it said what came of the build")
