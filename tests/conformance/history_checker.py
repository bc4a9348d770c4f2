"""What is wrong with a recorded history of processes that worked on one catalog.

``Operation`` is what a process wrote down, ``Log`` what the catalog's tables hold in the end; ``faults`` finds what the two
cannot have come about by, if the catalog keeps its promises. The log is read from its rows, by no code of the catalog's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from lake_model import History
from linearize import Heads, Move, Step, linearize

from dbt.adapters.lakehouse.catalog.model import Key


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What a process set out to do, and what came of it: ``result`` is None if the process was killed before it knew."""

    id: str
    verb: str
    said: Mapping[str, Any] = field(default_factory=dict)
    begin: float
    end: float = inf
    result: Mapping[str, Any] | None = None

    @property
    def refused(self) -> str | None:
        """The kind of the error, if it was one."""
        return None if self.result is None else self.result.get("refused")

    @property
    def commit(self) -> str | None:
        """The commit that it says it made."""
        return None if self.result is None else self.result.get("commit")

    @property
    def branch(self) -> str:
        """The branch that it writes to."""
        return str(self.said.get("branch") or self.said.get("target") or self.said.get("ref") or self.id)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A commit as it is stored; ``changes`` are texts of views before and after, by key."""

    id: str
    parents: tuple[str, ...]
    message: str
    run: str | None = None
    changes: Mapping[Key, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Log:
    """What the catalog holds in the end. ``commits``: parents before children. ``runs``: status and merge commit.

    ``collected`` are commits whose files may be gone.
    """

    commits: Sequence[Row]
    heads: Mapping[str, str]
    runs: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    collected: frozenset[str] = frozenset()

    @cached_property
    def history(self) -> History:
        """The commits with their states, as their changes make them."""
        history = History()
        for row in self.commits:
            state = dict(history.states[row.parents[0]]) if row.parents else {}
            state.update({key: after for key, (_, after) in row.changes.items() if after is not None})
            for key in (key for key, (_, after) in row.changes.items() if after is None):
                state.pop(key, None)
            history.add(row.id, row.parents, state)
        return history

    @cached_property
    def made_by(self) -> Mapping[str, Row]:
        """Commits by the operation that their message names."""
        return {row.message: row for row in self.commits}


@dataclass(frozen=True)
class Fault:
    """A promise that was broken: ``kind`` is ``lost``, ``half``, ``dirty``, ``order``, ``merge`` or ``leak``."""

    kind: str
    text: str


def load(folder: Path) -> list[Operation]:
    """What the processes wrote down. A last line may have been cut off."""
    operations = []
    for file in sorted(folder.glob("*.jsonl")):
        begun: dict[str, dict[str, Any]] = {}
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            said = json.loads(line)
            if "verb" in said:
                begun[said["id"]] = said
            else:
                first = begun.pop(said["id"])
                operations.append(Operation(**{**first, "end": said["end"], "result": said}))
        operations += [Operation(**said) for said in begun.values()]
    return operations


def read_log(ask: Callable[[str], Sequence[Any]]) -> Log:
    """What the tables hold; ``ask`` runs a query."""
    changes: dict[str, dict[Key, tuple[str | None, str | None]]] = {}
    for commit, schema, name, *texts in ask(_CHANGES):
        before, after = (None if text is None else json.loads(text)["sql"] for text in texts)
        changes.setdefault(commit, {})[Key(schema, name)] = (before, after)
    commits = [
        Row(id=one, parents=tuple(filter(None, parents)), message=message, run=run, changes=changes.get(one, {}))
        for one, *parents, message, run in ask(_COMMITS)
    ]
    runs = {run: (status, merged) for run, status, merged in ask("SELECT id, status, published FROM runs")}
    collected = frozenset(one for (one,) in ask("SELECT id FROM commits WHERE collected IS NOT NULL"))
    return Log(commits=commits, heads=dict(ask("SELECT name, commit_id FROM refs")), runs=runs, collected=collected)


_COMMITS = "SELECT id, parent, merge_parent, message, run FROM commits ORDER BY generation, time"
_CHANGES = """
    SELECT commits.id, entries.schema_name, entries.table_name, old.json, new.json
    FROM entries JOIN commits ON commits.line = entries.line AND commits.seq = entries.seq
    LEFT JOIN contents AS old ON old.id = entries.before LEFT JOIN contents AS new ON new.id = entries.content
"""


def faults(
    operations: Sequence[Operation],
    log: Log,
    start: Heads,
    groups: Sequence[Collection[Key]],
    counters: Collection[Key],
) -> list[Fault]:
    """Everything that is wrong. ``groups`` are keys that are always written together, ``counters`` rise by one."""
    found = [
        *_lost(operations, log),
        *_half(operations, log, groups),
        *_dirty(operations, log),
        *_wrong_merges(operations, log),
        *_miscounted(log, counters),
        *_leaked(operations, log),
        *_missing(log),
    ]
    # Only then: what is not there at all cannot be put in order.
    return found or list(_out_of_order(operations, log, start))


def _lost(operations: Sequence[Operation], log: Log) -> Iterator[Fault]:
    """Commits that were acknowledged must be in the log as they were wished, and those that were refused must not."""
    for operation in operations:
        row = log.made_by.get(operation.id)
        if operation.commit is not None:
            if row is None or row.id != operation.commit or row.parents != tuple(operation.result["parents"]):  # type: ignore[index]
                yield Fault("lost", f"{operation.id} made {operation.commit}, the log has {row}")
        elif operation.result is not None and row is not None:
            yield Fault(
                "dirty", f"{operation.id} was refused or had nothing to do ({operation.result}) and made {row.id}"
            )


def _half(operations: Sequence[Operation], log: Log, groups: Sequence[Collection[Key]]) -> Iterator[Fault]:
    """Keys that are written together must be the same wherever they are seen: in the log, and by those who read."""
    states = [(commit, dict(state)) for commit, state in log.history.states.items()]
    for operation in operations:
        if operation.verb == "state" and operation.result is not None and "values" in operation.result:
            values = {Key(*key.split(".")): text for key, text in operation.result["values"].items()}
            states.append((f"what {operation.id} read", values))
            if values != log.history.states.get(operation.said["commit"]):
                yield Fault(
                    "dirty", f"{operation.id} read another state than {operation.said['commit']} has in the log"
                )
    for where, state in states:
        for group in groups:
            texts = {state.get(key) for key in group}
            if len(texts) > 1:
                yield Fault("half", f"{where} holds {sorted(map(str, texts))} at {', '.join(map(str, group))}")


def _dirty(operations: Sequence[Operation], log: Log) -> Iterator[Fault]:
    """Whatever was seen must be in the log."""
    for operation in operations:
        result = operation.result or {}
        for head in [result.get("head"), *result.get("heads", {}).values()]:
            if head is not None and head not in log.history:
                yield Fault("dirty", f"{operation.id} read {head}, which no commit in the log is")


def _wrong_merges(operations: Sequence[Operation], log: Log) -> Iterator[Fault]:
    """A merge commit must be the three-way merge of its parents, without conflicts; any other what its operation wished."""
    verbs = {operation.id: operation.verb for operation in operations}
    history = log.history
    for row in log.commits:
        if len(row.parents) == 2:
            merged, conflicts = history.merge(row.parents[1], row.parents[0])
            if conflicts or merged != history.states[row.id]:
                yield Fault("merge", f"{row.id} ({row.message}) is not the merge of its parents")
        elif verbs.get(row.message) not in (None, "commit"):
            yield Fault(
                "merge", f"{row.id} was made by {row.message}, which is a {verbs[row.message]}, with one parent"
            )
        for key, (before, _) in row.changes.items():
            if row.parents and history.states[row.parents[0]].get(key) != before:
                yield Fault("lost", f"{row.id} says that {key} was {before} in its parent, which is not so")


def _miscounted(log: Log, counters: Collection[Key]) -> Iterator[Fault]:
    """Whoever raised a counter did so from what the commit before held."""
    for row in log.commits:
        for key in row.changes.keys() & set(counters):
            before, after = row.changes[key]
            if len(row.parents) == 1 and before is not None and after != str(int(before) + 1):
                yield Fault("lost", f"{row.id} ({row.message}) took {key} from {before} to {after}")


def _leaked(operations: Sequence[Operation], log: Log) -> Iterator[Fault]:
    """No branch but a run's own ever shows commits of a run that is not published; a published one's merge is there."""
    history = log.history
    of_run = {row.id: row.run for row in log.commits if row.run is not None and len(row.parents) == 1}
    unpublished = {commit for commit, run in of_run.items() if log.runs.get(run, ("", None))[0] != "published"}
    for ref, heads in _shown(operations, log).items():
        for head in heads:
            leaked = [commit for commit in unpublished if history.leads_to(head, commit)]
            if leaked:
                yield Fault("leak", f"{ref} showed {head}, which leads to {min(leaked)} of a run that is not published")
    for run, (status, merged) in log.runs.items():
        row = next((row for row in log.commits if row.run == run and len(row.parents) == 2), None)
        if (status == "published") != (row is not None) or (row is not None and row.id != merged):
            yield Fault("half", f"run {run} is {status} by {merged}, its merge is {row}")


def _missing(log: Log) -> Iterator[Fault]:
    """What a ref names must be there."""
    for ref, head in log.heads.items():
        if head in log.collected:
            yield Fault("lost", f"{ref} is at {head}, which was collected")


def _shown(operations: Sequence[Operation], log: Log) -> dict[str, set[str]]:
    """The commits that each ref, other than run branches, was seen at or brought to."""
    shown: dict[str, set[str]] = {ref: {head} for ref, head in log.heads.items() if not ref.startswith("run/")}
    for operation in operations:
        result = operation.result or {}
        for ref, head in result.get("heads", {}).items():
            shown.setdefault(ref, set()).add(head)
        head = result.get("commit") or result.get("forward") or result.get("head")
        if head is not None and not operation.branch.startswith("run/"):
            shown.setdefault(operation.branch, set()).add(head)
    return shown


def _out_of_order(operations: Sequence[Operation], log: Log, start: Heads) -> Iterator[Fault]:
    """There must be an order of all operations in which each finds what those before it left.

    First ref by ref, then for all refs that were ever read at once.
    """
    steps = [step for operation in operations for step in _steps(operation, log)]
    last = 1 + max((step.begin if step.end == inf else step.end for step in steps), default=0)
    refs = set(start).union(*(step.refs for step in steps))
    together = frozenset().union(*(step.finds for step in steps if len(step.finds) > 1))
    # What was killed and is in the log is there before the log is read.
    steps = [dataclasses.replace(step, end=last) if step.sure and step.end == inf else step for step in steps]
    # The branch of a run that failed may have been collected.
    ends = {ref: log.heads.get(ref) for ref in refs if ref in log.heads or not ref.startswith("run/")}
    steps.append(Step(name="the end", begin=last + 1, finds=ends))
    by_ref: dict[str, list[Step]] = {}
    for step in steps:
        for ref in step.refs:
            by_ref.setdefault(ref, []).append(step)
    parts = [(frozenset({ref}), some) for ref, some in sorted(by_ref.items())]
    for some_refs, some in [*parts, (together, steps)]:
        stuck = linearize([part for step in some if (part := step.about(some_refs)) is not None], start)
        if stuck is not None:
            yield Fault("order", f"{', '.join(sorted(some_refs))}: {stuck}")
            return


def _steps(operation: Operation, log: Log) -> Iterator[Step]:
    """What an operation did to refs, or found of them.

    A merge of a branch by its name reads that branch and moves another. These are two steps: in PostgreSQL the first may
    move on in between, which changes nothing of what the merge is.
    """
    make = {
        "head": _head_steps,
        "heads": _heads_steps,
        "commit": _commit_steps,
        "merge": _merge_steps,
        "assign": _assign_steps,
        "create": _create_steps,
        "delete": _delete_steps,
        "open run": _open_steps,
    }.get(operation.verb)
    if make is not None:
        yield from make(operation, log)


def _step(operation: Operation, **more: Any) -> Step:
    return Step(name=operation.id, begin=operation.begin, end=operation.end, **more)


def _found(operation: Operation, finds: Heads) -> Step:
    return _step(operation, finds=finds)


def _test(operation: Operation, ref: str, holds: Callable[[str | None], bool]) -> Step:
    return _step(operation, reads=frozenset({ref}), holds=lambda heads: holds(heads.get(ref)))


def _head_steps(operation: Operation, _log: Log) -> Iterator[Step]:
    if operation.result is not None:
        yield _found(operation, {operation.said["ref"]: operation.result.get("head")})


def _heads_steps(operation: Operation, _log: Log) -> Iterator[Step]:
    if operation.result is not None:
        yield _found(operation, {ref: operation.result["heads"].get(ref) for ref in operation.said["refs"]})


def _commit_steps(operation: Operation, log: Log) -> Iterator[Step]:
    branch, row = operation.branch, log.made_by.get(operation.id)
    if row is not None:
        yield _step(operation, move=Move(ref=branch, before=row.parents[0], after=row.id))
    elif operation.refused == "head_moved":
        yield _test(operation, branch, lambda head: not _as_expected(operation, head, log))


def _as_expected(operation: Operation, head: str | None, log: Log) -> bool:
    wanted = operation.said.get("head")
    if wanted is not None and wanted != head:
        return False
    state = {} if head is None else log.history.states[head]
    return all(state.get(Key(*key.split("."))) == text for key, text in operation.said.get("expected", {}).items())


def _merge_steps(operation: Operation, log: Log) -> Iterator[Step]:
    source, target, row = operation.said["source"], operation.branch, log.made_by.get(operation.id)
    if row is not None:
        yield _step(operation, move=Move(ref=target, before=row.parents[0], after=row.id))
        if source not in log.history and operation.result is not None:
            yield _found(operation, {source: row.parents[1]})
    elif operation.refused == "head_moved":
        yield _test(operation, target, lambda head: head != operation.said["head"])
    elif _moves_forward(operation, log):
        move = Move(ref=target, before=operation.said["head"], after=source)
        yield _step(operation, move=move, sure=operation.result is not None)
    elif operation.result is not None and not operation.refused and source in log.history:
        yield _test(operation, target, lambda head: _came_to(source, head, log) == operation.result["conflicts"])  # type: ignore[index]


def _moves_forward(operation: Operation, log: Log) -> bool:
    """Whether a merge moved its target forward, or, where that is not known, can have."""
    source, head = operation.said["source"], operation.said.get("head")
    if operation.result is not None:
        return "forward" in operation.result
    return bool(operation.said.get("forward")) and source != head and log.history.leads_to(source, head)


def _came_to(source: str, head: str | None, log: Log) -> list[str] | None:
    """The conflicts of a merge that made no commit: none if there is nothing to merge; None if it would have made one."""
    if head is None:
        return None
    if log.history.leads_to(head, source):
        return []
    return sorted(map(str, log.history.merge(source, head)[1])) or None


def _assign_steps(operation: Operation, _log: Log) -> Iterator[Step]:
    branch, expected, to = operation.branch, operation.said["expected"], operation.said["to"]
    if not operation.refused:
        sure = operation.result is not None
        yield _step(operation, move=Move(ref=branch, before=expected, after=to), sure=sure)
    elif operation.refused == "head_moved":
        yield _test(operation, branch, lambda head: head != expected)


def _create_steps(operation: Operation, log: Log) -> Iterator[Step]:
    name, at = operation.branch, operation.said["at"]
    if operation.refused == "ref_exists":
        yield _test(operation, name, lambda head: head is not None)
    elif operation.refused:
        return  # what it was to start at was collected
    elif at in log.history:
        yield _step(operation, move=Move(ref=name, before=None, after=at), sure=operation.result is not None)
    elif operation.result is not None:
        yield _step(operation, move=Move(ref=name, before=None, after=operation.result["head"]))
        yield _found(operation, {at: operation.result["head"]})
    elif name in log.heads:
        # It was killed, and so was the only process that knows the name.
        yield _step(operation, move=Move(ref=name, before=None, after=log.heads[name]))


def _open_steps(operation: Operation, _log: Log) -> Iterator[Step]:
    if not operation.refused:
        move = Move(ref=f"run/{operation.id}", before=None, after=operation.said["base"])
        yield _step(operation, move=move, sure=operation.result is not None)


def _delete_steps(operation: Operation, _log: Log) -> Iterator[Step]:
    name, expected = operation.branch, operation.said["expected"]
    if not operation.refused:
        yield _step(operation, move=Move(ref=name, before=expected, after=None), sure=operation.result is not None)
    elif operation.refused == "head_moved":
        yield _test(operation, name, lambda head: head not in (None, expected))
    elif operation.refused == "ref_not_found":
        yield _test(operation, name, lambda head: head is None)
