"""Why a node ran, or was reused, in a run: read from what the catalog keeps of runs, commits and results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Key, ReusableResult, RunRecord, ViewEntry
from dbt.adapters.lakehouse.errors import InvalidRef, LakehouseError, NotInLake
from dbt.adapters.lakehouse.lake.differences import Comparison, Difference, History, Version, without_comment

Reason = Literal[
    "reused", "unchanged", "first", "differs", "same", "batches", "not_reusable", "never", "off", "rebuild", "failed", "skipped",
    "elsewhere", "unknown",
]  # fmt: skip
"""``reused``: a result was there. ``unchanged``: a view says what it said. ``first``: there was none to compare with.
``differs``: from the one before, see the differences. ``same``: as the one before, which was not at hand. ``batches``: of a
microbatch model of which nothing else differs. ``not_reusable``: see the obstacles. ``never``: its configuration says ``reuse:
false``. ``off``: reuse was switched off. ``rebuild``: of a full refresh. ``failed``, ``skipped``: it gave nothing. ``elsewhere``:
no node of dbt made it. ``unknown``: nothing is kept of that, or not to be read."""

_PAGES = (20, 200, None)
_FAILED = frozenset({"error", "fail", "runtime error"})


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A result that was there before: who made it, when, in how many seconds. What is not known (or not to be read) is None.

    ``branch`` is the one its run was meant for.
    """

    run: str | None
    author: str | None
    branch: str | None = None
    made_at: datetime | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What became of a node in a run, and why.

    ``run`` is None where nodes count at once, or none was recorded. ``status`` and ``message`` are dbt's. ``before`` is the
    result that ``differences`` are against; it stood in the same place if ``in_place``, else it is the nearest that was made
    elsewhere.
    """

    node: str
    relation: str | None
    reason: Reason
    run: RunRecord | None = None
    by: Origin | None = None
    status: str | None = None
    message: str | None = None
    seconds: float | None = None
    reused: Origin | None = None
    waited_for: str | None = None
    obstacles: tuple[str, ...] = ()
    before: Origin | None = None
    in_place: bool = False
    differences: tuple[Difference, ...] = ()


def explain(catalog: Catalog, node: str, *, state: str, branch: str | None, run: str | None = None) -> Explanation:
    """Why a node ran or was reused in a run, by default in the last one meant for ``branch`` that had to do with it.

    ``node`` is its unique id, its name, or its relation's (``schema.table``) in ``state`` (a commit's id). Raises
    ``NotInLake`` if nothing is known of it, ``InvalidRef`` if it could be several or there is no such run.
    """
    record = _named_run(catalog, run) if run is not None else None
    runs: Iterable[RunRecord] = (record,) if record is not None else _runs(catalog, branch)
    names = _names_of(catalog, node, state)
    history = History(catalog)
    for one in runs:
        found = names(one.nodes)
        if found:
            return _Explainer(history, _only(node, found), node, one, history.head(one), branch).explain()
    if record is not None:
        raise NotInLake(f"run {record.id[:8]} had nothing to do with {node!r}; `lakehouse run show {record.id[:8]}`")
    found = names(None)
    if not found:
        raise NotInLake(f"nothing is known of {node!r}; a model's name, a unique id or schema.table is right")
    return _Explainer(history, _only(node, found), node, None, state, branch).explain()


class _Explainer:
    def __init__(
        self, history: History, node: str, said: str, record: RunRecord | None, state: str | None, branch: str | None
    ) -> None:
        schema, _, table = said.partition(".")
        self._wanted = Key(schema, table)
        self._catalog = history.catalog
        self._branch = record.target if record is not None else branch
        self._history = history
        self._node = node
        self._record = record
        self._state = state

    @property
    def _said(self) -> Mapping[str, Any]:
        """What dbt said of the node in the run."""
        said = self._record.nodes.get(self._node) if self._record is not None else None
        return said if isinstance(said, Mapping) else {"status": said} if said else {}

    def explain(self) -> Explanation:
        now = self._found
        if now is None:
            return self._without_relation()
        if self._record is None:
            self._record = self._history.run(now.commit.run)
        elif now.commit.run != self._record.id:
            return self._left_as_it_is(now)
        return self._written(now)

    # relations

    @functools.cached_property
    def _found(self) -> Version | None:
        """The node's relation; in several schemas, the one that the run put there, else the newest."""
        if self._state is None:
            return None
        entries = self._catalog.entries(self._state)
        keys = [key for key, entry in entries.items() if _made_by(entry) == self._node or str(key) == self._node]
        if self._wanted in keys:
            keys = [self._wanted]
        found = [version for key in keys if (version := self._history.version(self._state, key)) is not None]
        mine = self._record.id if self._record is not None else None
        return max(found, key=lambda one: (one.commit.run == mine, one.commit.time), default=None)

    def _left_as_it_is(self, now: Version) -> Explanation:
        """The run put nothing there: what stood there was right, or nothing came of it."""
        relation = str(now.key)
        status = str(self._said.get("status") or "")
        if "reused" in self._said or status == "reused":
            reason: Reason = "unchanged" if isinstance(now.entry, ViewEntry) else "reused"
            return self._explanation(reason, relation=relation, reused=self._reused(now))
        return self._explanation(_of_status(status), relation=relation)

    def _written(self, now: Version) -> Explanation:
        said = now.provenance
        more: dict[str, Any] = {
            "relation": str(now.key),
            "obstacles": tuple(said.get("not_reusable") or ()),
            "waited_for": said.get("waited_for"),
            "by": Origin(run=now.commit.run, author=now.commit.author, made_at=now.commit.time),
        }
        if now.node is None:
            return self._explanation("elsewhere", message=now.commit.message, **more)
        before = self._history.before(now)
        in_place = before is not None
        if before is None:
            before = self._nearest(now)
        if before is not None:
            more |= {"before": self._origin(before), "in_place": in_place}
            more["differences"] = Comparison(self._history).of(before, now)
        if said.get("reused"):
            return self._explanation("reused", reused=self._reused(now), **more)
        return self._explanation(_why(said, more.get("differences"), before), **more)

    def _reused(self, now: Version) -> Origin:
        said = self._said.get("reused") or now.provenance.get("reused") or {}
        mark = now.provenance.get("fingerprint")
        known = next((one for one in self._history.results(self._node) if one.fingerprint == mark), None)
        run = said.get("run") or (known.run if known is not None else None)
        record = self._history.run(run)
        return Origin(
            run=run,
            author=said.get("author") or (known.author if known is not None else None),
            branch=record.target if record is not None else None,
            made_at=known.made_at if known is not None else record.started_at if record is not None else None,
            seconds=said.get("seconds"),
        )

    def _nearest(self, now: Version) -> Version | None:
        """The result of this node elsewhere that differs least, the newest of several."""
        mine = self._history.parts(now)
        earlier = [
            one
            for one in self._history.results(self._node)
            if one.made_at < now.commit.time and one.fingerprint != now.provenance.get("fingerprint")
        ]
        if mine is not None:
            earlier.sort(key=lambda one: len(mine.items() ^ one.parts.items()))
        for result in earlier[:5]:
            version = self._history.made(result)
            if version is not None:
                return version
        return None

    def _origin(self, version: Version) -> Origin:
        commit = version.commit
        record = self._history.run(commit.run)
        return Origin(
            run=commit.run,
            author=commit.author,
            branch=record.target if record is not None else None,
            made_at=commit.time,
            seconds=version.provenance.get("seconds"),
        )

    # tests, and nodes that left nothing

    def _without_relation(self) -> Explanation:
        status = str(self._said.get("status") or "")
        results = self._history.results(self._node)
        mine = self._record.id if self._record is not None else None
        if "reused" in self._said:
            reused = self._said["reused"] or {}
            made = next((one for one in results if one.run == reused.get("run")), None)
            return self._explanation("reused", reused=_origin_of(made, self._history.run(reused.get("run")), reused))
        made = next((one for one in results if mine is None or one.run == mine), None)
        if made is None:
            return self._explanation(_of_status(status) if status != "pass" else "not_reusable")
        before = next((one for one in results if one.made_at < made.made_at), None)
        by = _origin_of(made, self._history.run(made.run), {})
        if before is None:
            return self._explanation("first", by=by)
        texts = [without_comment(str(one.answer.get("sql") or "")) for one in (before, made)]
        found = Comparison(self._history).of_parts(
            before.parts,
            made.parts,
            (texts[0], texts[1]) if all(texts) else None,
            (self._state_of(before), self._state_of(made)),
        )
        return self._explanation(
            "differs", by=by, before=_origin_of(before, self._history.run(before.run), {}), differences=found
        )

    def _state_of(self, result: ReusableResult) -> str | None:
        """The state in which a test was asked; of a run that wrote nothing, what its branch had at the time."""
        record = self._history.run(result.run)
        if record is not None:
            return self._history.head(record)
        if self._branch is None:
            return None
        try:
            return self._catalog.resolve(f"{self._branch}@{result.made_at.isoformat()}").id
        except LakehouseError:
            return None

    def _explanation(self, reason: Reason, **more: Any) -> Explanation:
        return Explanation(
            **{
                "node": self._node,
                "relation": None,
                "reason": reason,
                "run": self._record,
                "status": self._said.get("status"),
                "message": self._said.get("message"),
                "seconds": self._said.get("seconds"),
                **more,
            }
        )


def _why(said: Mapping[str, Any], found: Sequence[Difference] | None, before: Version | None) -> Reason:
    """Why a node was computed, by what its commit says."""
    if said.get("not_looked_for") == "never":
        return "never"
    if said.get("reuse") == "off":
        return "off"
    if said.get("not_looked_for") == "rebuild":
        return "rebuild"
    if said.get("not_reusable"):
        return "not_reusable"
    if before is None:
        return "first"
    if found:
        return "differs"
    if said.get("mode") == "batches":
        return "batches"
    # Where the fingerprints differ, what they were made of is not kept any longer, or not to be read.
    return "same" if before.provenance.get("fingerprint") in (None, said.get("fingerprint")) else "unknown"


def _of_status(status: str) -> Reason:
    return "failed" if status in _FAILED else "skipped" if status == "skipped" else "unknown"


def _origin_of(result: ReusableResult | None, record: RunRecord | None, said: Mapping[str, Any]) -> Origin:
    return Origin(
        run=result.run if result is not None else said.get("run"),
        author=result.author if result is not None else said.get("author"),
        branch=record.target if record is not None else None,
        made_at=result.made_at if result is not None else None,
        seconds=said.get("seconds", result.seconds if result is not None else None),
    )


# which node, which run


def _named_run(catalog: Catalog, run: str) -> RunRecord:
    record = catalog.run(run)
    if record is None:
        raise InvalidRef(f"no run {run!r}; `lakehouse runs` shows which there are")
    return record


def _runs(catalog: Catalog, branch: str | None) -> Iterator[RunRecord]:
    """Runs that were meant for a branch, newest first; read a few at a time, since each tells of all its nodes."""
    seen: set[str] = set()
    for limit in _PAGES if branch is not None else ():
        records = catalog.runs(limit)
        for record in records:
            if record.id not in seen and record.target == branch:
                yield record
            seen.add(record.id)
        if limit is None or len(records) < limit:
            return


def _names_of(catalog: Catalog, node: str, state: str) -> Callable[[Mapping[str, Any] | None], list[str]]:
    """Finds the unique ids that a name may stand for among a run's nodes; without any, among what stands in the state."""
    entries = catalog.entries(state)
    wanted = node.lower()
    by_relation = [_made_by(entry) or str(key) for key, entry in entries.items() if wanted in (str(key), key.name)]
    by_node = [made for entry in entries.values() if (made := _made_by(entry)) and _is_called(made, node)]
    schema, _, table = wanted.partition(".")
    exact = [_made_by(entry) or str(key) for key, entry in entries.items() if (key.schema, key.name) == (schema, table)]

    def find(nodes: Mapping[str, Any] | None) -> list[str]:
        standing = exact or by_node or by_relation
        if nodes is None:
            return list(dict.fromkeys(standing))
        if node in nodes:
            return [node]
        return [name for name in nodes if _is_called(name, node)] or [
            name for name in dict.fromkeys(standing) if name in nodes
        ]

    return find


def _made_by(entry: Any) -> str | None:
    return getattr(entry, "node", None)


def _is_called(unique_id: str, name: str) -> bool:
    """Whether a unique id (``model.shop.orders``, ``model.shop.orders.v2``, ``test.shop.unique_orders.3a1b``) has a name."""
    rest = unique_id.split(".")[2:]
    return unique_id == name or name in rest[:1] or (bool(rest) and name == ".".join(rest))


def _only(node: str, found: Sequence[str]) -> str:
    if len(found) > 1:
        raise InvalidRef(f"{node!r} may be {', '.join(found[:10])}; say which")
    return found[0]
