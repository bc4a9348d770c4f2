"""Two tables that come from one, as a third that has the rows of both: from metadata alone, no row is read.

A side is what its list of files says against that of the base: data and delete files that came, and that went. What the
source did is done to the target. That is right where neither side undoes or covers what the other did:

- both only added files, or
- what they touched lies in different partitions (a delete file touches the partition of its rows).

Files that came to both sides are the same rows and stand there once. A side that only brought its files together
(``compact``) changed no row, so that where the two cannot stand together, the other side's files are the answer.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyiceberg.conversions import from_bytes
from pyiceberg.table.snapshots import Operation, Snapshot

from dbt.adapters.lakehouse.errors import StorageError, TableError
from dbt.adapters.lakehouse.tables import commits, content, evolve, parquet, reader
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.commits import REPEATED, Change
from dbt.adapters.lakehouse.tables.metadata import COMMENT, LiveFile, Table

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadataV2

    from dbt.adapters.lakehouse.tables.values import Written

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class NotCombined:
    """Why two tables are not made one, as the rest of a sentence that begins with the table's name and a colon."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side did since the base, without what the other did just the same.

    ``touched`` are the partitions it concerns, by their values. ``past`` are its snapshots since the base, if they are known
    and all of them left the rows alone that there were; ``compacted`` says that none of them added any either.
    """

    table: Table
    data: tuple[LiveFile, ...]
    deletes: tuple[LiveFile, ...]
    removed: frozenset[str]
    touched: Mapping[str, LiveFile]
    past: frozenset[int] | None = None
    compacted: bool = False

    @property
    def only_added(self) -> bool:
        """Whether everything that the base had is there as it was."""
        return not (self.removed or self.deletes)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A combination that can be written.

    ``apart`` says that the two sides have nothing to do with one another. Else both added rows to the same partitions, or to
    a table without any; ``repeated`` of the source's new files hold just the rows of one of the target's.
    """

    source: Side
    target: Side
    metadata: TableMetadataV2
    apart: bool
    repeated: int

    @property
    def _change(self) -> Change:
        side = self.source
        kept = {f.path for f in (*self.target.table.data, *self.target.table.deletes)}
        return Change(
            operation=Operation.APPEND if side.only_added else Operation.OVERWRITE,
            added=[f.file for f in side.data],
            deletes=[f.file for f in side.deletes],
            removed=side.removed & kept,
            repeats=side.table.metadata.current_snapshot_id,
        )

    def preview(self) -> Written:
        """The combined table as it would be, with nothing written: its location says nothing."""
        return tables.describe(commits.preview(self._before, self._change))

    def write(self) -> Written:
        """The combined table: a new state of the target's, with files of both sides."""
        change, before = self._change, self._before
        if not (change.added or change.deletes or change.removed):
            if self.metadata is self.target.table.metadata:
                return tables.describe(self.target.table)
            with parquet.attempt(self.metadata.location) as made:
                return tables.describe(commits.save(before, made))
        with parquet.attempt(self.metadata.location) as made:
            return tables.describe(commits.commit(before, change, made))

    @property
    def _before(self) -> Table:
        return self.target.table.with_metadata(self.metadata)


def plan(base: str, source: str, target: str) -> Plan | NotCombined:
    """How the tables at two metadata locations, which both come from the one at ``base``, become one, or why they do not."""
    try:
        origin, theirs, ours = tables.load(base), tables.load(source), tables.load(target)
    except TableError as error:
        return NotCombined(why=str(error))
    except StorageError as error:
        if error.passing:
            raise
        return NotCombined(why=f"one of the three states cannot be read: {error}")
    left, right = _side(origin, theirs, ours), _side(origin, ours, theirs)
    if left.compacted or right.compacted:
        left, right = _without_compaction(left, right)
    metadata = _metadata(origin, left.table, right.table)
    if isinstance(metadata, NotCombined):
        return metadata
    why = (
        _not_descended(origin, theirs, ours)
        or _of_other_shape(left, right)
        or _in_the_way(left, right)
        or _keys_may_clash(left, right)
    )
    if why:
        return NotCombined(why=why)
    digests = {content.digest_of(f.path) for f in right.data} - {None}
    return Plan(
        source=left,
        target=right,
        metadata=metadata,
        apart=left.compacted or right.compacted or not (left.touched.keys() & right.touched.keys()),
        repeated=sum(content.digest_of(f.path) in digests for f in left.data),
    )


# what each side did


def _side(base: Table, side: Table, other: Table) -> Side:
    had = {f.path for f in (*base.data, *base.deletes)}
    has = {f.path for f in (*side.data, *side.deletes)}
    known = had | {f.path for f in (*other.data, *other.deletes)}
    data = tuple(f for f in side.data if f.path not in known)
    deletes = tuple(f for f in side.deletes if f.path not in known)
    gone = [f for f in (*base.data, *base.deletes) if f.path not in has]
    past = _past(base, side)
    return Side(
        table=side,
        data=data,
        deletes=deletes,
        removed=frozenset(f.path for f in gone),
        touched={_partition(f): f for f in (*data, *deletes, *gone)},
        past=frozenset(s.snapshot_id for s in past) if past is not None else None,
        compacted=bool(past) and all(_operation(s) is Operation.REPLACE for s in past or ()) and side.rows == base.rows,
    )


def _partition(file: LiveFile) -> str:
    return f"{file.file.spec_id} {file.file.partition}"


def _past(base: Table, side: Table) -> list[Snapshot] | None:
    """The snapshots since the base, if each of them says that it took no row away, and none that it repeats others."""
    found: list[Snapshot] = []
    at, wanted = side.metadata.current_snapshot(), base.metadata.current_snapshot_id
    while at is not None and at.snapshot_id != wanted:
        if _operation(at) not in (Operation.APPEND, Operation.REPLACE) or (at.summary and at.summary[REPEATED]):
            return None
        found.append(at)
        if at.parent_snapshot_id is None or at.parent_snapshot_id == wanted:
            return found if at.parent_snapshot_id is not None else None
        at = side.metadata.snapshot_by_id(at.parent_snapshot_id)
    return found if at is not None else None


def _operation(snapshot: Snapshot) -> Operation | None:
    return snapshot.summary.operation if snapshot.summary is not None else None


def _without_compaction(source: Side, target: Side) -> tuple[Side, Side]:
    """Both sides, where one changed no row: its files stay as they are if the other needs them so."""
    if not (source.only_added or target.only_added):
        if not source.compacted:
            source, target = target, source
        source = replace(source, data=(), deletes=(), removed=frozenset(), touched={})
    return source, target


# what stands against it


def _not_descended(base: Table, source: Table, target: Table) -> str | None:
    for name, side in (("source", source), ("target", target)):
        if side.metadata.table_uuid != base.metadata.table_uuid or not _descends(base, side):
            return f"it was made anew on the {name}, so that there is no base that both sides started from"
    return None


def _descends(base: Table, side: Table) -> bool:
    """Whether the history of one state is known to lead to the other: told of, or files are there that it had."""
    if base.metadata.current_snapshot_id is None:
        return False
    told: set[int | None] = set()
    for snapshot in side.metadata.snapshots:
        repeated = snapshot.summary[REPEATED] if snapshot.summary is not None else None
        told |= {snapshot.snapshot_id, snapshot.parent_snapshot_id, int(repeated) if repeated else None}
    had = {f.path for f in base.data}
    return base.metadata.current_snapshot_id in told or any(f.path in had for f in side.data)


def _of_other_shape(source: Side, target: Side) -> str | None:
    """Whether files would be taken for what they are not: rows of other columns, or in partitions of another kind."""
    if any(reader.written_otherwise(source.table, f) for f in source.data):
        return "its columns were changed and changed back on the source, where rows were added in between"
    spec = target.table.metadata.default_spec_id
    if any(f.file.spec_id != spec for f in (*source.touched.values(), *target.touched.values())):
        return "files of an earlier partitioning were touched; compact the table first"
    return None


def _in_the_way(source: Side, target: Side) -> str | None:
    """Whether one side undoes or covers what the other did."""
    if source.only_added and target.only_added:
        return None
    if _only_added_to(source, target) or _only_added_to(target, source):
        return None
    shared = [file for place, file in source.touched.items() if place in target.touched]
    if not shared:
        return None
    who = "on both sides" if not (source.only_added or target.only_added) else f"on the {_changing(source)}"
    if not target.table.metadata.spec().fields:
        return f"rows were changed or deleted {who}, and it has no partitions that would keep them apart"
    names = sorted(_shown(target.table.metadata, f) for f in shared)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"both sides touched partition {', '.join(names[:_SHOWN])}{more}, and rows there were changed or deleted {who}"
    )


def _only_added_to(side: Side, other: Side) -> bool:
    """Whether one side only added files, and the other rows, beside files that it brought together.

    What it brought together may have been files of the first side's, which then count as new there: those that came by a
    snapshot which both sides went through.
    """
    return side.only_added and other.past is not None and not any(f.snapshot_id in other.past for f in side.data)


def _changing(source: Side) -> str:
    return "target" if source.only_added else "source"


def _shown(metadata: TableMetadataV2, file: LiveFile) -> str:
    fields = metadata.spec().fields
    kinds = metadata.spec().partition_type(metadata.schema()).fields
    values = [file.file.partition[place] for place in range(len(fields))]
    return ", ".join(
        f"{field.name}={field.transform.to_human_string(kind.field_type, value)}"
        for field, kind, value in zip(fields, kinds, values, strict=True)
    )


# primary keys


def _keys_may_clash(source: Side, target: Side) -> str | None:
    """Whether rows of both sides might have the same primary key. No row is read, so only bounds can tell that none do."""
    metadata = target.table.metadata
    keys = set(metadata.schema().identifier_field_ids)
    if not keys or not (source.data and target.data) or source.compacted or target.compacted:
        return None
    fields = metadata.spec().fields
    by_key = bool(fields) and all(f.source_id in keys for f in fields)
    if by_key and not (source.touched.keys() & target.touched.keys()):
        return None  # equal keys lie in the same partition
    if any(_ranges_apart(metadata, key, source.data, target.data) for key in keys):
        return None
    names = ", ".join(metadata.schema().find_column_name(key) or str(key) for key in sorted(keys))
    return f"its primary key ({names}) might no longer be unique with the rows of both sides"


def _ranges_apart(metadata: TableMetadataV2, key: int, left: Sequence[LiveFile], right: Sequence[LiveFile]) -> bool:
    """Whether all values of a column on one side are below all on the other."""
    kind = metadata.schema().find_type(key)
    mine, other = (_range(kind, key, [f.file for f in side]) for side in (left, right))
    return mine is not None and other is not None and bool(mine[1] < other[0] or other[1] < mine[0])


def _range(kind: Any, key: int, files: Iterable[DataFile]) -> tuple[Any, Any] | None:
    lows, highs = [], []
    for file in files:
        low, high = (file.lower_bounds or {}).get(key), (file.upper_bounds or {}).get(key)
        if low is None or high is None:
            return None
        lows.append(from_bytes(kind, low))
        highs.append(from_bytes(kind, high))
    return min(lows), max(highs)


# columns, layout and description


def _metadata(base: Table, source: Table, target: Table) -> TableMetadataV2 | NotCombined:
    """The target's metadata with the comments and properties that the source gave the table."""
    three = base.metadata, source.metadata, target.metadata
    for what, of in (("columns", _columns), ("partitioning", _partitioning), ("sort order", _order)):
        if not _same([of(one) for one in three]):
            return NotCombined(why=f"its {what} are not the same on both sides and in what they started from")
    comments = _merged(*({f.name: f.doc or "" for f in one.schema().fields} for one in three))
    properties = _merged(*(dict(one.properties) for one in three))
    for what, found in (("comment of column", comments), ("property", properties)):
        if isinstance(found, str):
            named = "comment" if found == COMMENT and found is properties else f"{what} {found!r}"
            return NotCombined(why=f"both sides changed its {named}")
    assert not isinstance(comments, str)
    described = evolve.with_comments(target.metadata, comments)
    return (
        described
        if properties == dict(described.properties)
        else described.model_copy(update={"properties": properties})
    )


def _columns(metadata: TableMetadataV2) -> object:
    schema = metadata.schema()
    return (
        [(f.field_id, f.name, repr(f.field_type), f.required) for f in schema.fields],
        sorted(schema.identifier_field_ids),
    )


def _partitioning(metadata: TableMetadataV2) -> object:
    return metadata.default_spec_id, [(f.source_id, str(f.transform), f.name) for f in metadata.spec().fields]


def _order(metadata: TableMetadataV2) -> object:
    return [(f.source_id, str(f.transform), str(f.direction), str(f.null_order)) for f in metadata.sort_order().fields]


def _same(values: Sequence[object]) -> bool:
    return all(value == values[0] for value in values[1:])


def _merged(base: Mapping[str, str], source: Mapping[str, str], target: Mapping[str, str]) -> dict[str, str] | str:
    """Three-way, by name; the name that both sides changed, each to something else."""
    found = dict(target)
    for name in sorted(base.keys() | source.keys()):
        was, theirs, ours = base.get(name), source.get(name), target.get(name)
        if theirs in (was, ours):
            continue
        if ours != was:
            return name
        if theirs is None:
            del found[name]
        else:
            found[name] = theirs
    return found
