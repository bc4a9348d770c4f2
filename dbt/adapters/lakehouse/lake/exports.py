"""Tables as files beside the lake: what ``external`` models become once their run is published.

A run notes what is to be exported when it builds a model (``note``), and writes the files after it was published
(``finish``): from the table as it stands at the head of the target's branch, so that of two runs that end side by side the
later one's rows stay. What a process that was killed in between has left is written by the next run that is published. A
receipt of what was written lets files alone that are as they should be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dbt.adapters.lakehouse.catalog.model import Key, RunRecord, RunStatus, TableEntry, identity
from dbt.adapters.lakehouse.errors import LakehouseError, RefNotFound, SqlError, StorageError
from dbt.adapters.lakehouse.lake import exported_files
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.run.state import Snapshot
from dbt.adapters.lakehouse.run.values import Name
from dbt.adapters.lakehouse.storage import storage_for

FOLDER = ".exports"
"""Of the warehouse: what waits for its run to be published, and receipts."""

_MOST_TIMES = 5
_KEPT = timedelta(days=30)
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, kw_only=True)
class Export:
    """A table and where its rows go: ``location`` is an absolute path or a URL, ``options`` are those of DuckDB's COPY.

    The table is that of ``branch``.
    """

    node: str
    schema: str
    name: str
    branch: str
    location: str
    options: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether it goes to this machine's files."""
        return not _REMOTE.match(self.location)

    @property
    def into_folder(self) -> bool:
        """Whether DuckDB makes a folder of files of it."""
        return any(self.says(option) for option in ("partition_by", "per_thread_output", "file_size_bytes"))

    def says(self, option: str) -> bool:
        """Whether an option is given, and not as false."""
        said = {key.lower(): value for key, value in self.options.items()}.get(option)
        return said is not None and str(said).lower() not in ("false", "0", "off", "")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What was written, and what could not be, with the reason."""

    written: tuple[Export, ...] = ()
    failed: tuple[tuple[Export, str], ...] = ()


class Exports:
    """The exports of a lake of this process."""

    def __init__(self, lake: EmbeddedLake) -> None:
        self._lake = lake
        self._settings = lake.settings
        self._store = storage_for(lake.settings.warehouse, lake.settings.storage_options)

    # while the run is open

    def check(self, export: Export, ref: str) -> None:
        """Raise ``LakehouseError`` if what the table at ``ref`` is cannot be written to the export's location."""
        if export.is_local:
            exported_files.check(export.location, self._known(export), into_folder=export.into_folder, how=_how(export))
        # Without rows, elsewhere: what DuckDB would refuse shows before anything is published.
        with tempfile.TemporaryDirectory(prefix="lakehouse-export-", dir=self._settings.temp_directory) as folder:
            try:
                self._copy(export, ref, f"{folder}/rows", limit=" LIMIT 0")
            except SqlError as error:
                raise SqlError(f"{export.node} cannot be written to {export.location}: {error}") from error

    def note(self, export: Export, run: str) -> None:
        """Have it written once the run is published."""
        uri = f"{self._settings.warehouse}/{FOLDER}/waiting/{run}/{_mark(export)}.json"
        self._store.delete(uri)
        self._store.write(uri, json.dumps(dataclasses.asdict(export)).encode())

    # once it is published

    def finish(self, run: str | None) -> Finished:
        """Write what a published run noted, and what was noted by others whose process was killed after they were published."""
        published = self._chain(run)
        written: list[Export] = []
        failed: list[tuple[Export, str]] = []
        for owner, uri in list(self._waiting()):
            if owner not in published and not self._is_published(owner, uri):
                continue
            try:
                export = Export(**json.loads(self._store.read(uri)))
            except (StorageError, ValueError, TypeError):
                continue  # another process wrote it, or it is another version's
            try:
                if self.write(export):
                    written.append(export)
            except LakehouseError as error:
                failed.append((export, str(error)))
                continue
            self._store.delete(uri)
        return Finished(written=tuple(written), failed=tuple(failed))

    def write(self, export: Export) -> bool:
        """Bring the files at a location up to date with the head of the branch; False if they are so already."""
        changed = False
        for _ in range(_MOST_TIMES):
            found = self._standing(export)
            if found is None or self._is_done(export, found[1]):
                return changed
            commit, entry = found
            files: Mapping[str, Any]
            if export.is_local:
                known = self._known(export)
                files = exported_files.replace(
                    export.location,
                    lambda path, at=commit: self._copy(export, at, path),  # type: ignore[misc]
                    lambda names, known=known: self._keep(export, {"known": sorted({*known, *names})}),  # type: ignore[misc]
                    known=known,
                    into_folder=export.into_folder,
                    how=_how(export),
                    mark=identity(entry).rpartition(":")[2][:12],
                )
            else:
                self._copy(export, commit, export.location)
                files = self._remote_files(export)
            self._keep(export, {"said": _said(export, entry), "files": files, "known": sorted(files)})
            changed = True
        return changed

    def _copy(self, export: Export, ref: str, path: str, *, limit: str = "") -> None:
        name = Name(database=self._settings.database, schema=export.schema, name=export.name)
        options = {key: value for key, value in export.options.items() if key.lower() not in _MODES}
        if export.is_local and export.into_folder and export.says("append"):
            options.setdefault("filename_pattern", "'rows_{i}'")
        if not export.is_local and export.into_folder:
            options |= {key: value for key, value in export.options.items() if key.lower() in _MODES}
            options = options if any(map(export.says, _MODES)) else {**options, "overwrite_or_ignore": "true"}
        said = ", ".join(f"{key} {value}" for key, value in options.items())
        with contextlib.closing(self._lake.read(ref, export.schema)) as session:
            session.execute(f"COPY (SELECT * FROM {name}{limit}) TO {literal(path)} ({said})", fetch=False)

    # what stands

    def _standing(self, export: Export) -> tuple[str, TableEntry] | None:
        """The head of the branch and the table there; None if either is gone."""
        try:
            snapshot = Snapshot.at(self._lake.catalog, export.branch)
        except RefNotFound:
            return None
        entry = snapshot.get(Key(export.schema, export.name))
        return (snapshot.commit, entry) if isinstance(entry, TableEntry) else None

    def _is_done(self, export: Export, entry: TableEntry) -> bool:
        said = _said(export, entry)
        for receipt in self._receipts(export).values():
            if receipt.get("said") != said:
                continue
            if not export.is_local:
                now = self._remote_files(export)
                return bool(now) and receipt["files"] == now
            return exported_files.stand(export.location, receipt["files"], into_folder=export.into_folder)
        return False

    def _known(self, export: Export) -> frozenset[str]:
        """The files at a location that are of earlier exports to it."""
        if not export.is_local:
            return frozenset()
        return frozenset(name for receipt in self._receipts(export).values() for name in receipt.get("known", ()))

    def _remote_files(self, export: Export) -> dict[str, str]:
        """What the server says of what stands at a URL; nothing where it is not known how to ask."""
        from dbt.adapters.lakehouse.run import files

        pattern = f"{export.location.rstrip('/')}/**" if export.into_folder else export.location
        found = files.look([pattern], self._settings, external_access=True)
        return {} if found.obstacles else {"digest": found.digest}

    # receipts

    def _receipts(self, export: Export) -> dict[str, dict[str, Any]]:
        """What was written to a location, by where that is noted: one receipt, but for processes that were killed."""
        found: dict[str, dict[str, Any]] = {}
        for file in self._store.list_prefix(self._folder(export)):
            with contextlib.suppress(StorageError, ValueError):  # another process has a newer one
                found[file.uri] = json.loads(self._store.read(file.uri))
        return found

    def _keep(self, export: Export, receipt: Mapping[str, Any]) -> None:
        """Let a receipt take the place of those before it."""
        before = list(self._receipts(export))
        document = json.dumps({"location": export.location, **receipt})
        self._store.write(f"{self._folder(export)}/{uuid.uuid4().hex}.json", document.encode())
        for uri in before:
            self._store.delete(uri)

    def _folder(self, export: Export) -> str:
        return f"{self._settings.warehouse}/{FOLDER}/done/{_mark(export)}"

    # what waits

    def _waiting(self) -> Iterator[tuple[str, str]]:
        """The run and the location of what is noted."""
        folder = f"{self._settings.warehouse}/{FOLDER}/waiting"
        for file in self._store.list_prefix(folder):
            run, _, name = file.uri.removeprefix(f"{folder}/").partition("/")
            if name:
                yield run, file.uri

    def _chain(self, run: str | None) -> frozenset[str]:
        """A run and those that it continued, whose models it did not build again."""
        found: set[str] = set()
        while run is not None and run not in found:
            found.add(run)
            record = self._lake.catalog.run(run)
            run = record.continues if record is not None else None
        return frozenset(found)

    def _is_published(self, run: str, uri: str) -> bool:
        """Whether a run was published before. What nobody will ever publish is forgotten, after long."""
        record: RunRecord | None = self._lake.catalog.run(run)
        if record is not None and record.status is RunStatus.PUBLISHED:
            return True
        ended = record.finished_at or record.heartbeat_at if record is not None else None
        if ended is not None and datetime.now(UTC) - ended > _KEPT:
            self._store.delete(uri)
        return False


_MODES = ("append", "overwrite", "overwrite_or_ignore")


def _how(export: Export) -> exported_files.How:
    """What becomes of files that stand in the folder already."""
    if export.says("append") or export.says("overwrite_or_ignore"):
        return "beside"
    return "instead of all" if export.says("overwrite") else "instead of own"


def _mark(export: Export) -> str:
    return hashlib.sha256(export.location.encode()).hexdigest()[:32]


def _said(export: Export, entry: TableEntry) -> dict[str, Any]:
    return {"content": identity(entry), "options": dict(export.options)}
