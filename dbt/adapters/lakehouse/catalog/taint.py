"""What runs that did not pass wrote, and who vouches for it (invariant 6). Pure.

An entry is tainted if it still stands where a merge would bring it from, and a run wrote it that did not pass; or somebody
else let its files stand there (a clone, a rename, a step back); or it was made from a tainted one, by a statement or an
append. What was overwritten or dropped since does not count, nor a table without a node that a run which passed wrote to.

A run R vouches for it if R passed, began with a state that held it, ended with a state that holds it (or what was made of it)
and that travels along, and

- its node is among those that passed in R: built, or reused, which takes the same code on the same inputs; or
- R continues the run that wrote it: then R passed for both.

R must travel along since a node is no run: what R vouches for includes what R built beside it. Entries without a node (what
hooks wrote), and drops, are vouched for by continuing alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbt.adapters.lakehouse.catalog.model import Entry, Key, RunRecord, RunStatus, SchemaEntry, TableEntry

PASSED = (RunStatus.PASSED, RunStatus.PUBLISHED)
"""Runs whose commits may travel for their own sake."""

PASSING = frozenset({"success", "pass", "warn", "reused"})
"""What dbt says of nodes that passed."""

LOOKING = frozenset({"clone", "compile", "freshness", "generate", "list", "ls", "parse", "show"})
"""dbt's commands of which nodes come back as successes though they were not built; a clone leaves what is there."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of a key by one of the commits that travel. ``run`` made the commit; ``said`` is its provenance."""

    key: Key
    commit: str
    generation: int
    run: str | None
    before: str | None
    after: str | None
    said: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An entry that ``run``, which did not pass, is behind, as it came to the key by ``commit``.

    ``contents`` is what stands there at the end, and before that what it was made from, back to what ``commit`` put there.
    """

    key: Key
    commit: str
    run: str
    node: str | None
    contents: tuple[str | None, ...]


def passed(run: str | None, records: Mapping[str, RunRecord], acting: str | None) -> bool:
    """Whether what a run wrote may travel for its own sake: it passed, is just being published, or is no run at all."""
    return run is None or run == acting or (run in records and records[run].status in PASSED)


def builds(command: str) -> bool:
    """Whether what passes in a command was built, reused or tested by it."""
    return command.rpartition(" ")[2] not in LOOKING


def passing_nodes(record: RunRecord | None) -> frozenset[str]:
    """The nodes that passed in a run; none in one that only looked at them."""
    if record is None or not builds(record.command):
        return frozenset()
    return frozenset(
        node for node, said in record.nodes.items() if isinstance(said, Mapping) and said.get("status") in PASSING
    )


def continued_by(run: str, records: Mapping[str, RunRecord]) -> list[str]:
    """The runs that a run continues, nearest first: the one it started from, the one that started from, and so on."""
    chain: list[str] = []
    record = records.get(run)
    while record is not None and record.continues and record.continues not in (run, *chain):
        chain.append(record.continues)
        record = records.get(record.continues)
    return chain


def vouches(record: RunRecord, suspect: Suspect, records: Mapping[str, RunRecord]) -> bool:
    """Whether a run that passed, from the state that held the suspect on, answers for its kind."""
    if suspect.run in continued_by(record.id, records):
        return True
    return suspect.node is not None and suspect.node in passing_nodes(record)


class Tracer:
    """Traces what stands at a key back through the steps that led to it, to who wrote it.

    ``steps`` are those of all commits that travel, by key, the latest first. ``entries`` are contents by id. ``writers`` says
    who wrote files for which nothing vouches, by metadata location. ``bad`` are runs that did not pass.
    """

    def __init__(
        self,
        steps: Mapping[Key, Sequence[Step]],
        entries: Mapping[str, Entry],
        writers: Mapping[str, str],
        bad: Collection[str],
    ) -> None:
        self._steps = steps
        self._entries = entries
        self._writers = writers
        self._bad = bad

    def suspect(self, key: Key, content: str | None) -> Suspect | None:
        """Who is to be suspected of what stands at a key; None if nobody."""
        if isinstance(self._entry(content), SchemaEntry):
            return None  # an empty schema tells of nothing
        steps: Sequence[Step] = self._steps.get(key, ())
        contents = [content]
        while placed := [step for step in steps if step.after == content]:
            found = self._placed(placed, content)
            if found is not None:
                commit, run = found
                return Suspect(key=key, commit=commit, run=run, node=self._node(content), contents=tuple(contents))
            first = placed[-1]
            steps = [step for step in steps if step.generation < first.generation]
            if first.before is None or not self._goes_on(first, steps):
                return None
            content = first.before
            contents.append(content)
        return None

    def _placed(self, placed: Sequence[Step], content: str | None) -> tuple[str, str] | None:
        if any(step.run not in self._bad and _reuses(step) for step in placed):
            return None
        for step in reversed(placed):
            if step.run is not None and step.run in self._bad:
                return step.commit, step.run
            accepted = [run for run in _accepted(step) if run in self._bad]
            if accepted:
                return step.commit, accepted[0]
        entry = self._entry(content)
        writer = self._writers.get(entry.metadata_location) if isinstance(entry, TableEntry) else None
        return (placed[-1].commit, writer) if writer is not None else None

    def _goes_on(self, step: Step, earlier: Sequence[Step]) -> bool:
        """Whether a step made of a table what it put in its place, rather than to overwrite it."""
        before, after = self._entry(step.before), self._entry(step.after)
        if not (isinstance(before, TableEntry) and isinstance(after, TableEntry)):
            return False
        if before.table_uuid != after.table_uuid or step.said.get("mode") == "create" or step.said.get("replaces"):
            return False
        if _reuses(step):
            return False
        if step.run is None or before.node is not None or after.node is not None:
            return True
        # What a hook adds to a table of nobody's, that hook answers for; not for what its own run brought there.
        return any(one.run == step.run for one in earlier if one.after == step.before)

    def _entry(self, content: str | None) -> Entry | None:
        return self._entries.get(content) if content is not None else None

    def _node(self, content: str | None) -> str | None:
        entry = self._entry(content)
        return None if entry is None or isinstance(entry, SchemaEntry) else entry.node


def _reuses(step: Step) -> bool:
    """Whether a commit put there what had been made before of the same code and inputs."""
    recalled = step.said.get("recalled")
    return step.said.get("reused") is not None or (isinstance(recalled, Mapping) and str(step.key) in recalled)


def _accepted(step: Step) -> Sequence[str]:
    """The runs whose rows a merge was told to accept, where it made one table of those and others."""
    settled = step.said.get("settled")
    how = settled.get(str(step.key)) if isinstance(settled, Mapping) else None
    return step.said.get("accepted_tainted") or () if how in ("combined", "both") else ()


def tainted_message(source: str, target: str, suspects: Iterable[Suspect], records: Mapping[str, RunRecord]) -> str:
    """The message of a ``TaintedError``: which runs, which tables, and how to go on."""
    some = list(suspects)
    runs = sorted({one.run for one in some})
    named = ", ".join(f"{run[:8]} ({records[run].status if run in records else 'not recorded'})" for run in runs[:5])
    more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
    tables = [str(key) for key in sorted({one.key for one in some})]
    shown = ", ".join(tables[:5]) + (f" and {len(tables) - 5} more" if len(tables) > 5 else "")
    return (
        f"{source!r} cannot go to {target!r}: it holds what runs that did not pass wrote: {named}{more}; tables: {shown}. "
        f"Continue the run until it passes (`dbt retry`), or build these on a branch that starts from {source!r} until a run "
        "of them passes, and merge that; or accept them knowingly (`--accept-tainted`)"
    )
