"""Two lakes, each in a process of its own in which dbt takes the same steps: one reuses results, the other never does."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TARGETS = ("main", "dev", "ann", "live")
_OUTPUTS: dict[str, dict[str, Any]] = {
    "main": {},
    "dev": {"branch": "dev"},
    "ann": {"branch": "ann", "from_branch": "dev", "schema": "ann"},
    "live": {"branch": "live", "publish": "each_node"},
}
_ENVIRONMENT = {
    "DBT_NO_VERSION_CHECK": "true",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
    # Fewer nodes are looked at where some are reused, and what is found ends a run that would have done something.
    "LAKEHOUSE_PREFLIGHT": "warn",
    # Python tells compiled modules by whole seconds and sizes, too coarse for edits as quick as these.
    "PYTHONDONTWRITEBYTECODE": "1",
}
_TIMES = ("dbt_valid_from", "dbt_valid_to", "dbt_updated_at", "dbt_scd_id")
"""Columns of snapshots that may hold the time of the run."""

Tables = dict[str, Any]


class Difference(AssertionError):
    """The lakes are not the same; the message says where."""


class _Lake:
    """One of the two, in its process."""

    def __init__(self, folder: Path) -> None:
        from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
        from dbt.adapters.lakehouse.profile import lake_settings

        self.folder = folder
        self.reused = 0
        self._written: dict[str, str] = {}
        self._rows: dict[tuple[str, str], Any] = {}
        folder.mkdir()
        settings = lake_settings({"type": "lakehouse", "warehouse": "./lake", "threads": 1}, folder)
        self.lake = EmbeddedLake.open(settings)

    def write(self, files: Mapping[str, str]) -> None:
        """Make the folder hold these files; those that did not change are not touched."""
        for name in self._written.keys() - files.keys():
            (self.folder / name).unlink()
        for name, text in files.items():
            if self._written.get(name) != text:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self._written = dict(files)

    def dbt(self, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
        """Run dbt; its verdict on each node, and on the whole."""
        from dbt.cli.main import dbtRunner

        os.environ.update(environment)
        os.chdir(self.folder)
        flags = ["--project-dir", str(self.folder), "--profiles-dir", str(self.folder), "--log-level-file", "none"]
        outcome = dbtRunner().invoke([*arguments, *flags])
        results = getattr(outcome.result, "results", None) or []
        self.reused += sum(result.adapter_response.get("code") == "REUSED" for result in results)
        verdicts = {
            result.node.unique_id: "success" if str(result.status) in ("reused", "pass") else str(result.status)
            for result in results
        }
        return {"": f"{outcome.success} {type(outcome.exception).__name__}", **verdicts}

    def count(self) -> int:
        """How many results were reused so far."""
        return self.reused

    def execute(self, branch: str, statements: Sequence[str]) -> None:
        """Change a branch from outside of dbt."""
        from dbt.adapters.lakehouse.lake.base import RunRequest

        run = self.lake.open_run(
            RunRequest(id=os.urandom(8).hex(), command="test", branch=branch, default_schema="shop")
        )
        with closing(run.session()) as session:
            for statement in statements:
                session.execute(statement)
        run.publish()

    def branches(self) -> list[str]:
        from dbt.adapters.lakehouse.catalog.model import RefKind

        names = [ref.name for ref in self.lake.catalog.refs(RefKind.BRANCH)]
        return sorted(name for name in names if not name.startswith("run/"))

    def tables(self, branch: str) -> Tables:
        """Every relation of a branch: columns, comments and rows, in any order."""
        with closing(self.lake.read(branch, "shop")) as session:
            found: Tables = {}
            for entry in session.relations("lake"):
                columns = [(column.name, column.type, column.comment) for column in entry.columns]  # type: ignore[union-attr]
                name = f"{entry.schema}.{entry.name}"
                rows = self._rows_of(session, entry, f'lake."{entry.schema}"."{entry.name}"')
                kind = type(entry).__name__
                # A comment of a view may name the run.
                sql = re.sub(r"--.*", "", getattr(entry, "sql", ""))
                found[name] = (kind, columns, getattr(entry, "comment", None), sql, rows)
            return found

    def _rows_of(self, session: Any, entry: Any, name: str) -> Any:
        from dbt.adapters.lakehouse.errors import LakehouseError

        key = ("table", getattr(entry, "metadata_location", ""))
        if key[1] and key in self._rows:
            return self._rows[key]
        try:
            result = session.execute(f"SELECT * FROM {name}")
        except LakehouseError as error:
            # A view may call macros that only a run makes.
            return type(error).__name__
        masked = [index for index, column in enumerate(result.columns) if column.name in _TIMES]
        rows = sorted(
            (tuple(value is None if i in masked else value for i, value in enumerate(row)) for row in result.rows),
            key=repr,
        )
        if key[1]:
            self._rows[key] = rows
        return rows

    def merge(self, source: str, target: str, dry_run: bool) -> bool:
        """Whether the branches merge without conflicts."""
        merged = self.lake.catalog.merge(source, target, author="test", message="merge", dry_run=dry_run)
        return not merged.conflicts


def _serve(pipe: Connection, folder: str, reuses: bool) -> None:
    """Keep a lake and answer calls: (method, arguments) -> (answer, None) or (None, what went wrong)."""
    os.environ.update({**_ENVIRONMENT, "LAKEHOUSE_REUSE": "on" if reuses else "off"})
    log = os.open(os.environ.get("LAKEHOUSE_TEST_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    lake: _Lake | None = None
    while True:
        name, arguments = pipe.recv()
        try:
            if name in ("open", "end") and lake is not None:
                lake.lake.close()
                lake = None
            if name == "end":
                return
            if name == "open":
                _forget_paths()
                lake = _Lake(Path(*arguments) / folder)
            answer = getattr(lake, name)(*arguments) if name != "open" else None
            pipe.send((answer, None))
        except BaseException:
            pipe.send((None, traceback.format_exc()))


def _forget_paths() -> None:
    """Python remembers what a relative entry of its path meant when it was first looked into, in another folder."""
    os.chdir("/")
    sys.path[:] = [entry for entry in sys.path if Path(entry).is_absolute()]
    for entry in [entry for entry in sys.path_importer_cache if not Path(entry).is_absolute()]:
        del sys.path_importer_cache[entry]


class _Process:
    def __init__(self, folder: str, reuses: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, folder, reuses))
        self._process.start()
        theirs.close()

    def ask(self, name: str, *arguments: Any) -> None:
        self._pipe.send((name, arguments))

    def answer(self) -> Any:
        answer, wrong = self._pipe.recv()
        if wrong is not None:
            raise RuntimeError(wrong)
        return answer

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.ask("end")
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._pipe.close()


class TwoLakes:
    """The pair, and the steps that both take."""

    def __init__(self) -> None:
        self._processes = (_Process("with", True), _Process("without", False))

    def _both(self, name: str, *arguments: Any) -> list[Any]:
        for process in self._processes:
            process.ask(name, *arguments)
        return [process.answer() for process in self._processes]

    @contextlib.contextmanager
    def new(self) -> Iterator[None]:
        """Two new lakes, that are gone afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="lakehouse-two-"))
        try:
            self._both("open", str(folder))
            rows = "SELECT range::BIGINT AS id, (range * 3)::BIGINT AS v, 'event' AS s FROM range(4)"
            self._both("execute", "main", ("CREATE SCHEMA src", f"CREATE TABLE src.events AS {rows}"))
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def end(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.end()

    def write(self, files: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        """Write the project; ``settings`` are DuckDB's."""
        common = {
            "type": "lakehouse",
            "warehouse": "./lake",
            "schema": "shop",
            "threads": 2,
            "settings": dict(settings),
        }
        outputs = {name: {**common, **more} for name, more in _OUTPUTS.items()}
        profiles = json.dumps({"shop": {"target": "main", "outputs": outputs}}, indent=1)
        self._both("write", {**files, "profiles.yml": profiles})

    def dbt(self, target: str, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
        """Run dbt in both; raises ``Difference`` unless verdicts and tables are the same. The verdict on each node, and on
        the whole (``""``).
        """
        with_reuse, without = self._both("dbt", [*arguments, "--target", target], dict(environment))
        if with_reuse != without:
            both = with_reuse.keys() | without.keys()
            apart = {n: (with_reuse.get(n), without.get(n)) for n in both if with_reuse.get(n) != without.get(n)}
            raise Difference(f"dbt {' '.join(arguments)} of {target}: with and without reuse it says {apart}")
        self.compare(f"after dbt {' '.join(arguments)} of {target}")
        return dict(with_reuse)

    def change(self, branch: str, *statements: str) -> None:
        """Change a branch in both from outside of dbt, if it is there."""
        if branch in self._branches():
            self._both("execute", branch, statements)

    def merge(self, source: str, target: str) -> bool:
        """Merge branches in both, unless that conflicts in one of them (rows that were written anew are a change)."""
        known = self._branches()
        if source == target or source not in known or target not in known:
            return False
        if not all(self._both("merge", source, target, True)):
            return False
        if not all(self._both("merge", source, target, False)):
            raise Difference(f"{source} and {target} merge in one lake only")
        self.compare(f"after merging {source} into {target}")
        return True

    def tables(self, branch: str) -> Tables:
        """The relations of a branch, in the lake that reuses."""
        self._processes[0].ask("tables", branch)
        return dict(self._processes[0].answer())

    def reused(self) -> int:
        """How many results were reused so far."""
        self._processes[0].ask("count")
        return int(self._processes[0].answer())

    def _branches(self) -> list[str]:
        return list(self._both("branches")[0])

    def compare(self, when: str) -> None:
        """Raise ``Difference`` unless every branch holds the same in both."""
        branches = self._both("branches")
        if branches[0] != branches[1]:
            raise Difference(f"{when}: branches are {branches}")
        apart: list[str] = []
        for branch in branches[0]:
            with_reuse, without = self._both("tables", branch)
            apart += [
                f"{name} of {branch} is with reuse\n  {with_reuse.get(name)}\nand without\n  {without.get(name)}"
                for name in sorted(with_reuse.keys() | without.keys())
                if with_reuse.get(name) != without.get(name)
            ]
        if apart:
            raise Difference(f"{when}, {len(apart)} differ:\n" + "\n".join(apart))


@contextlib.contextmanager
def two_lakes() -> Iterator[TwoLakes]:
    """The processes; ``new`` makes lakes in them."""
    lakes = TwoLakes()
    try:
        yield lakes
    finally:
        lakes.end()
