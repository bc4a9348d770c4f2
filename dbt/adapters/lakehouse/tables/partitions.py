"""Partition specs and sort orders: from a model's configuration, and as the SQL that lays rows out in files.

Iceberg spec, *Partitioning* and *Sorting*. DuckDB splits rows by helper columns which are not written; a file's partition
values then come from pyiceberg's own transforms over the least and greatest value in the file, which must agree. So a
helper only has to tell partitions apart, and one that did not would be found out.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from dbt.adapters.lakehouse.errors import ConfigError, TableError
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables import stats
from dbt.adapters.lakehouse.tables.duckdb_types import find_column, to_duckdb

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.schema import Schema

_TRANSFORMS: dict[str, Callable[..., Transform[Any, Any]]] = {
    "identity": IdentityTransform,
    "year": YearTransform,
    "years": YearTransform,
    "month": MonthTransform,
    "months": MonthTransform,
    "day": DayTransform,
    "days": DayTransform,
    "date": DayTransform,
    "hour": HourTransform,
    "hours": HourTransform,
    "bucket": BucketTransform,
    "truncate": TruncateTransform,
    "void": VoidTransform,
}
_SHOWN = "identity, year, month, day, hour, bucket(n, …), truncate(n, …), void"
_CALL = re.compile(r"(\w+)\s*(?:\[\s*(\d+)\s*\])?\s*\((.*)\)", re.DOTALL)
_SORT = re.compile(r"(.*?)(?:\s+(asc|desc))?(?:\s+nulls\s+(first|last))?", re.IGNORECASE | re.DOTALL)


def partition_spec(schema: Schema, partition_by: Sequence[str]) -> PartitionSpec:
    """The spec for a model's ``partition_by``; an unknown column or transform is a ConfigError that lists what exists."""
    fields: list[PartitionField] = []
    taken = {field.name for field in schema.fields}
    for number, text in enumerate(partition_by):
        source, transform = _parse_partition(schema.fields, text.strip())
        name = source.name if isinstance(transform, IdentityTransform) else f"{source.name}_{_suffix(transform)}"
        while not isinstance(transform, IdentityTransform) and name in taken:
            name += "_"
        if any(f.source_id == source.field_id and f.transform == transform for f in fields):
            raise ConfigError(f"partition_by names {text!r} twice; remove one of them")
        taken.add(name)
        fields.append(
            PartitionField(
                source_id=source.field_id, field_id=PARTITION_FIELD_ID_START + number, transform=transform, name=name
            )
        )
    return PartitionSpec(*fields, spec_id=0)


def _suffix(transform: Transform[Any, Any]) -> str:
    if isinstance(transform, BucketTransform):
        return "bucket"
    if isinstance(transform, TruncateTransform):
        return "trunc"
    return "null" if isinstance(transform, VoidTransform) else str(transform)


def _parse_partition(fields: tuple[NestedField, ...], text: str) -> tuple[NestedField, Transform[Any, Any]]:
    plain = find_column(fields, _unquote(text))
    call = _CALL.fullmatch(text) if plain is None else None
    if call is None:
        source = plain or _unknown_column("partition_by", text, fields)
        transform: Transform[Any, Any] = IdentityTransform()
    else:
        kind = _TRANSFORMS.get(call[1].lower())
        if kind is None:
            raise ConfigError(f"partition_by {text!r} names no transform that exists; choose among {_SHOWN}")
        column, number = _arguments(text, kind, call[2], call[3])
        source = find_column(fields, column) or _unknown_column("partition_by", column, fields)
        transform = kind(number) if number is not None else kind()
    if not source.field_type.is_primitive or not transform.can_transform(source.field_type):
        raise ConfigError(
            f"partition_by {text!r}: {transform} does not apply to column {source.name!r} of type {source.field_type}; "
            f"choose another of {_SHOWN}, or another column"
        )
    if isinstance(source.field_type, FloatType | DoubleType):
        raise ConfigError(
            f"partition_by {text!r}: a table cannot be partitioned by column {source.name!r} of type {source.field_type}, "
            "whose equality engines disagree on; choose another column"
        )
    return source, transform


def _arguments(
    text: str, kind: Callable[..., Transform[Any, Any]], width: str | None, inner: str
) -> tuple[str, int | None]:
    if kind not in (BucketTransform, TruncateTransform):
        return _unquote(inner.strip()), None
    column = inner.strip()
    if width is None:
        first, _, rest = column.partition(",")
        last = column.rpartition(",")
        if first.strip().isdigit():
            width, column = first.strip(), rest.strip()
        elif last[2].strip().isdigit():
            width, column = last[2].strip(), last[0].strip()
    if width is None or not 0 < int(width) < 2**31:
        name = "bucket" if kind is BucketTransform else "truncate"
        raise ConfigError(f"partition_by {text!r} lacks a positive number; write {name}(16, column)")
    return _unquote(column), int(width)


def _unquote(text: str) -> str:
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def _unknown_column(where: str, name: str, fields: tuple[NestedField, ...]) -> NestedField:
    names = ", ".join(field.name for field in fields[:50])
    raise ConfigError(f"{where} names {name!r}, which is no column or transform; the columns are {names}")


def sort_order(schema: Schema, sort_by: Sequence[str]) -> SortOrder:
    """The sort order for a model's ``sort_by``; nulls are last unless it says otherwise, as in DuckDB."""
    fields = []
    for text in sort_by:
        whole = find_column(schema.fields, _unquote(text.strip()))
        match = _SORT.fullmatch(text.strip())
        assert match is not None
        column = (
            whole or find_column(schema.fields, _unquote(match[1])) or _unknown_column("sort_by", text, schema.fields)
        )
        if not column.field_type.is_primitive:
            raise ConfigError(
                f"sort_by names column {column.name!r} of type {column.field_type}; sort by plain values only"
            )
        descending = whole is None and (match[2] or "").lower() == "desc"
        first = whole is None and (match[3] or "").lower() == "first"
        fields.append(
            SortField(
                source_id=column.field_id,
                transform=IdentityTransform(),
                direction=SortDirection.DESC if descending else SortDirection.ASC,
                null_order=NullOrder.NULLS_FIRST if first else NullOrder.NULLS_LAST,
            )
        )
    return SortOrder(*fields, order_id=1 if fields else 0)


def order_by(schema: Schema, order: SortOrder) -> str:
    """The ORDER BY clause of a sort order, "" if it has none that SQL can say."""
    by_id = {field.field_id: field for field in schema.fields}
    terms = [
        f"{quote(by_id[f.source_id].name)} {'DESC' if f.direction is SortDirection.DESC else 'ASC'} "
        f"NULLS {'FIRST' if f.null_order is NullOrder.NULLS_FIRST else 'LAST'}"
        for f in order.fields
        if f.source_id in by_id and isinstance(f.transform, IdentityTransform)
    ]
    return f" ORDER BY {', '.join(terms)}" if terms and len(terms) == len(order.fields) else ""


_CUT = 64
"""Length from which a text in COPY's statistics may have been cut (at 256 bytes, of up to four for a character)."""


@dataclass(frozen=True, kw_only=True)
class Splitter:
    """How rows go to partitions: helper columns by name, and what each partition field is computed from."""

    spec: PartitionSpec
    sources: tuple[NestedField, ...]
    helpers: Mapping[str, str]
    functions: tuple[str, ...] = ()

    def values(
        self, columns: dict[str, dict[str, str]], count: int, exact: Callable[[str], dict[str, str]]
    ) -> list[Any]:
        """A file's partition values, from the statistics of its columns.

        COPY cuts long texts in its statistics; ``exact`` gives those of one column from the file itself.
        """
        found = []
        for field, source in zip(self.spec.fields, self.sources, strict=True):
            facts = columns.get(quote(source.name), {})
            if len(facts.get("max", "")) >= _CUT or len(facts.get("min", "")) >= _CUT:
                facts = {**facts, **exact(source.name)}
            found.append(_partition_value(field, source, facts, count))
        return found


def splitter(con: duckdb.DuckDBPyConnection, schema: Schema, spec: PartitionSpec) -> Splitter:
    """The helper columns for a spec. Bucket transforms register a function with the connection (see ``release``)."""
    helpers: dict[str, str] = {}
    functions: list[str] = []
    sources = tuple(schema.find_field(field.source_id) for field in spec.fields)
    taken = {field.name.lower() for field in schema.fields}
    for number, (field, source) in enumerate(zip(spec.fields, sources, strict=True)):
        if isinstance(field.transform, VoidTransform):
            continue
        name = f"p{number}"
        while name in taken:
            name = "_" + name
        if isinstance(field.transform, BucketTransform):
            function = _register_bucket(con, source.field_type, field.transform.num_buckets)
            functions.append(function)
            helpers[name] = f"{function}({quote(source.name)})"
        else:
            helpers[name] = _helper(field.transform, source)
    return Splitter(spec=spec, sources=sources, helpers=helpers, functions=tuple(functions))


def release(con: duckdb.DuckDBPyConnection, split: Splitter) -> None:
    """Remove the functions that a splitter registered."""
    for function in split.functions:
        con.remove_function(function)


def _helper(transform: Transform[Any, Any], source: NestedField) -> str:
    column, kind = quote(source.name), source.field_type
    if isinstance(transform, YearTransform | MonthTransform | DayTransform | HourTransform):
        moment = f"make_timestamp(epoch_us({column}))" if isinstance(kind, TimestamptzType) else column
        return (
            f"datediff('{transform}', {'DATE' if isinstance(kind, DateType) else 'TIMESTAMP'} '1970-01-01', {moment})"
        )
    if isinstance(transform, TruncateTransform):
        width = transform.width
        if isinstance(kind, StringType):
            return f"hash(left({column}, {width}))"
        if isinstance(kind, BinaryType):
            return f"hash(left(hex({column}), {2 * width}))"
        if isinstance(kind, IntegerType | LongType):
            number = f"{column}::HUGEINT"
            return f"({number} - ((({number} % {width}) + {width}) % {width}))::HUGEINT"
        unscaled = f"replace({column}::VARCHAR, '.', '')::HUGEINT"
        return f"({unscaled} - ((({unscaled} % {width}) + {width}) % {width}))::HUGEINT"
    if isinstance(kind, IntegerType | LongType | BooleanType | DateType):
        return column
    return f"hash({column})"


_BUCKETS = iter(range(2**62))


def _register_bucket(con: duckdb.DuckDBPyConnection, kind: IcebergType, buckets: int) -> str:
    from duckdb.func import FunctionNullHandling, PythonUDFType

    try:
        from pyiceberg_core.transform import bucket
    except ImportError as error:
        raise ConfigError(
            "partitioning by bucket(…) needs the package pyiceberg-core, which is not installed; "
            "install it, or partition by another transform"
        ) from error
    name = f"lakehouse_bucket_{next(_BUCKETS)}"

    def apply(values: Any) -> Any:
        return bucket(values.combine_chunks() if hasattr(values, "combine_chunks") else values, buckets)

    con.create_function(
        name,
        apply,
        [to_duckdb(kind)],
        "INTEGER",
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,
    )
    return name


def _partition_value(field: PartitionField, source: NestedField, facts: dict[str, str], count: int) -> Any:
    if isinstance(field.transform, VoidTransform):
        return None
    nulls = int(facts.get("null_count", 0))
    low, high = facts.get("min"), facts.get("max")
    if nulls == count:
        return None
    kind = source.field_type
    if nulls or low is None or high is None:
        raise TableError(_mixed(field, source))
    transform = field.transform.transform(kind)
    first, last = (transform(stats.parse(kind, text)) for text in (low, high))
    if first != last:
        raise TableError(_mixed(field, source))
    return first.bytes if isinstance(first, UUID) else first


def _mixed(field: PartitionField, source: NestedField) -> str:
    return (
        f"rows of more than one partition {field.name!r} ({field.transform} of column {source.name!r}) came to lie in one "
        "file; nothing was committed, please report this with the values of the column"
    )
