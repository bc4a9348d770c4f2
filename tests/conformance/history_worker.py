"""Processes that work on one catalog at once, write down what they do, and are killed: ``history_worker.py URL FOLDER SECONDS
SEED PROCESSES``.

Each life of each process has a file of its own in the folder. An operation is written down before it begins and after it
ended, in one line each; one that has no end was killed, and has happened or not. The processes are forked from one that
has imported everything, so that a new life costs nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.catalog.model import (
    ANY,
    Key,
    MergeResult,
    Put,
    RefKind,
    Retention,
    RunRecord,
    RunStatus,
    ViewEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import CatalogError, LakehouseError

SHARED = ("main", "left", "right")
ENOUGH = 500_000
"""Bytes of history."""
FLEETING = ("fleeting-0", "fleeting-1", "fleeting-2")
GROUPS = [[Key("s", f"g{group}_a"), Key("t", f"g{group}_b"), Key("s", f"g{group}_c")] for group in range(3)]
"""Keys that are always written together, with one text."""
COUNTERS = [Key("t", f"n{number}") for number in range(3)]
"""Keys that are raised by one from what was read."""
RETENTION = Retention(history=timedelta(seconds=1), failed_runs=timedelta(seconds=1), grace=timedelta())


def view(key: Key, text: str) -> ViewEntry:
    return ViewEntry(schema=key.schema, name=key.name, sql=text, columns=())


def puts(values: Mapping[Key, str]) -> list[Put]:
    return [Put(key=key, entry=view(key, text), expected=ANY) for key, text in values.items()]


class Worker:
    """One life of a process."""

    def __init__(self, url: str, file: Path, name: str) -> None:
        self.catalog = SqlCatalog.open(url, create=False)
        self.chance = random.Random(name)
        self._name = name
        self._count = 0
        self._file = file.open("a", encoding="utf-8", buffering=1)

    def work(self, stop: Path) -> None:
        """Do this and that until there is a file that says to stop."""
        acts: list[tuple[Callable[[], object], int]] = [
            (self.read, 3),
            (self.look_around, 2),
            (self.write_group, 4),
            (self.count_up, 4),
            (self.merge_shared, 4),
            (self.move_forward, 2),
            (self.branch_and_merge, 2),
            (self.move, 1),
            (self.come_and_go, 3),
            (self.run, 2),
            (self.leak, 1),
            (self.collect, 1),
        ]
        while not stop.exists():
            act = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
            act()
        self.catalog.close()
        self._file.close()

    # what it does

    def read(self) -> None:
        """Read a branch's state."""
        head = self._head(self._shared())
        with self._noted("state", commit=head) as result:
            entries = self.catalog.entries(head)
            result["values"] = {str(key): entry.sql for key, entry in entries.items() if isinstance(entry, ViewEntry)}

    def look_around(self) -> None:
        """Read all refs at once."""
        names = (*SHARED, *FLEETING)
        with self._noted("heads", refs=names) as result:
            result["heads"] = {ref.name: ref.commit for ref in self.catalog.refs() if ref.name in names}

    def write_group(self, branch: str | None = None) -> None:
        """Give the keys of a group a new text, whatever stands there, or if the branch is where it was."""
        branch = branch or self._shared()
        expected = self._head(branch) if self.chance.random() < 0.5 else None
        keys = self.chance.choice(GROUPS)
        with self._noted("commit", branch=branch, head=expected) as result:
            values = dict.fromkeys(keys, result["id"])
            self._commit(result, branch, puts(values), expected)

    def count_up(self, branch: str | None = None) -> None:
        """Raise a counter by one, provided nobody else did."""
        branch = branch or self._shared()
        key = self.chance.choice(COUNTERS)
        found = self.catalog.lookup(self._head(branch), [key])[key]
        assert isinstance(found, ViewEntry)
        raised = Put(key=key, entry=view(key, str(int(found.sql) + 1)), expected=content_id(found))
        with self._noted("commit", branch=branch, expected={str(key): found.sql}) as result:
            self._commit(result, branch, [raised], None)

    def merge_shared(self) -> None:
        """Merge a shared branch into another, by its name or its head."""
        source, target = self.chance.sample(SHARED, 2)
        if self.chance.random() < 0.5:
            source = self._head(source)
        self._merge(source, target, self._head(target) if self.chance.random() < 0.3 else None)

    def move_forward(self) -> None:
        """Work on a branch of one's own, and move a shared one forward to it if that is where it was."""
        origin = self._shared()
        head = self._head(origin)
        with self._noted("create", at=head) as result:
            name = result["id"]
            result["head"] = self.catalog.create_ref(name, RefKind.BRANCH, head).commit
        if "head" in result:
            self.write_group(name)
            self._merge(self._head(name), origin, head, forward=True)

    def branch_and_merge(self) -> None:
        """Work on a branch of one's own and merge it."""
        origin = self._shared()
        with self._noted("create", at=origin) as result:
            name = result["id"]
            result["head"] = self.catalog.create_ref(name, RefKind.BRANCH, origin).commit
        for _ in range(self.chance.randint(1, 3)):
            self.chance.choice([self.write_group, self.count_up])(name)
        self._merge(name, self._shared(), None)
        head = self._head(name)
        with self._noted("delete", ref=name, expected=head):
            self.catalog.delete_ref(name, expected=head)

    def move(self) -> None:
        """Set a shared branch back, or to where another one is."""
        branch = self._shared()
        head = self._head(branch)
        back = self.chance.choice([1, 2, 5])
        try:
            to = self.catalog.resolve(f"{head}~{back}").id if self.chance.random() < 0.5 else self._head(self._shared())
        except LakehouseError:
            return  # not so far back
        with self._noted("assign", branch=branch, to=to, expected=head) as result:
            result["head"] = self.catalog.assign(branch, to, expected=head).commit

    def come_and_go(self) -> None:
        """Make or delete a ref that others make and delete."""
        name = self.chance.choice(FLEETING)
        if self.chance.random() < 0.5:
            kind = self.chance.choice(list(RefKind))
            at = self._head(self._shared())
            with self._noted("create", ref=name, at=at) as result:
                result["head"] = self.catalog.create_ref(name, kind, at).commit
            return
        with self._noted("head", ref=name) as result:
            result["head"] = self.catalog.resolve(name).id
        if "head" in result:
            with self._noted("delete", ref=name, expected=result["head"]):
                self.catalog.delete_ref(name, expected=result["head"])

    def run(self) -> None:
        """A run that publishes two commits, or fails."""
        target = self._shared()
        base = self._head(target)
        with self._noted("open run", target=target, base=base) as result:
            run = result["id"]
            branch = f"run/{run}"
            now = datetime.now(UTC)
            record = RunRecord(
                id=run, branch=branch, target=target, base=base, command="test", status=RunStatus.OPEN, owner="test",
                started_at=now, heartbeat_at=now,
            )  # fmt: skip
            self.catalog.save_run(record)
            self.catalog.create_ref(branch, RefKind.BRANCH, base, run=run)
        for group in self.chance.sample(GROUPS, 2):
            with self._noted("commit", branch=branch, head=None) as result:
                self._commit(result, branch, puts(dict.fromkeys(group, result["id"])), None, run=run)
        if self.chance.random() < 0.7 and self._merge(branch, target, None, run=run):
            return
        with self._noted("fail run", run=run):
            failed = {**vars(record), "status": RunStatus.FAILED, "finished_at": datetime.now(UTC)}
            self.catalog.save_run(RunRecord(**failed))

    def leak(self) -> None:
        """Merge what a run wrote, or let a branch point to it, without waiting for its verdict."""
        branches = [ref for ref in self.catalog.refs(RefKind.BRANCH) if ref.run is not None]
        if not branches:
            return
        target, ref = self._shared(), self.chance.choice(branches[-20:])
        if self.chance.random() < 0.5:
            self._merge(ref.commit, target, None)
            return
        head = self._head(target)
        with self._noted("assign", branch=target, to=ref.commit, expected=head) as result:
            result["head"] = self.catalog.assign(target, ref.commit, expected=head).commit

    def collect(self) -> None:
        """Let garbage go, though others may just want it back."""
        with self._noted("collect") as result:
            result["commits"] = self.catalog.collect(RETENTION).commits

    # how it is written down

    def _shared(self) -> str:
        return self.chance.choice(SHARED)

    def _head(self, ref: str) -> str:
        with self._noted("head", ref=ref) as result:
            result["head"] = self.catalog.resolve(ref).id
        return str(result["head"])

    def _commit(
        self, result: dict[str, Any], branch: str, wanted: list[Put], head: str | None, run: str | None = None
    ) -> None:
        made = self.catalog.commit(branch, wanted, author=self._name, message=result["id"], expected_head=head, run=run)
        result |= {"commit": made.id, "parents": made.parents}

    def _merge(
        self, source: str, target: str, expected: str | None, run: str | None = None, *, forward: bool = False
    ) -> bool:
        with self._noted("merge", source=source, target=target, head=expected, forward=forward) as result:
            said = {"author": self._name, "message": result["id"], "run": run, "fast_forward": forward}
            merged: MergeResult = self.catalog.merge(source, target, expected_target=expected, **said)  # type: ignore[arg-type]
            result["conflicts"] = sorted(str(conflict.key) for conflict in merged.conflicts)
            if merged.fast_forward and merged.commit is not None:
                result["forward"] = merged.commit.id
            elif merged.commit is not None:
                result |= {"commit": merged.commit.id, "parents": merged.commit.parents}
        return "commit" in result

    @contextmanager
    def _noted(self, verb: str, **said: Any) -> Iterator[dict[str, Any]]:
        """Write down an operation; what it answered is what the caller puts into the result, or how it was refused."""
        self._count += 1
        name = f"{self._name}-{self._count}"
        result: dict[str, Any] = {"id": name}
        self._write({"id": name, "verb": verb, "said": said, "begin": time.monotonic_ns()})
        try:
            yield result
        except CatalogError:
            raise  # nothing that was asked is wrong: the catalog does not do its work
        except LakehouseError as error:
            result["refused"] = error.kind
        self._write({**result, "end": time.monotonic_ns()})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")


def fork(url: str, folder: Path, name: str) -> int:
    """A process that works until it is stopped; its id."""
    process = os.fork()
    if process:
        return process
    try:
        Worker(url, folder / f"{name}.jsonl", name).work(folder / "stop")
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def prepare(url: str, folder: Path) -> None:
    """A lake with its shared branches at one commit, which is written down."""
    catalog = SqlCatalog.open(url)
    values = {key: "0" for group in [*GROUPS, COUNTERS] for key in group}
    head = catalog.commit("main", puts(values), author="test", message="start").id
    for branch in SHARED[1:]:
        catalog.create_ref(branch, RefKind.BRANCH, head)
    catalog.close()
    (folder / "start.json").write_text(json.dumps(dict.fromkeys(SHARED, head)))


def is_enough(folder: Path, since: float, seconds: float) -> bool:
    """Whether they worked for so many seconds and got something done; not more than ten times as long."""
    worked = time.monotonic() - since
    return worked > seconds and (
        worked > 10 * seconds or sum(f.stat().st_size for f in folder.glob("*.jsonl")) > ENOUGH
    )


def main() -> int:
    """Start the processes, kill one now and then and start it again; how many failed."""
    url, folder, seconds, seed, count = sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:])
    prepare(url, folder)
    chance = random.Random(seed)
    lives = dict.fromkeys(range(int(count)), 0)
    processes = {number: fork(url, folder, f"{number}.0") for number in lives}
    failed, since = 0, time.monotonic()
    while not is_enough(folder, since, seconds):
        time.sleep(chance.uniform(0.05, 0.3))
        victim = chance.choice(list(lives))
        os.kill(processes[victim], signal.SIGKILL)
        failed += os.waitstatus_to_exitcode(os.waitpid(processes[victim], 0)[1]) == 1
        lives[victim] += 1
        processes[victim] = fork(url, folder, f"{victim}.{lives[victim]}")
    (folder / "stop").touch()
    for process in processes.values():
        failed += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
