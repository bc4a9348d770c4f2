"""Whether Arrow data that somebody else made can be read without leaving its buffers.

DuckDB believes what an extension type says of the values below it, and would read sixteen bytes for each of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import TableError

if TYPE_CHECKING:
    import pyarrow as pa

_NAME, _META = b"ARROW:extension:name", b"ARROW:extension:metadata"
_WIDTHS = {"hugeint": 16, "uhugeint": 16, "time_tz": 8, "arrow.uuid": 16}
_BYTES = frozenset({"bignum", "varint", "bit"})


def check(table: pa.Table) -> None:
    """Raise ``pyarrow.ArrowException`` or ``TableError`` for a table that would lead out of its buffers."""
    for field in table.schema:
        _check_field(field)
    for batch in table.to_batches():
        batch.validate(full=True)


def _check_field(field: pa.Field) -> None:
    import pyarrow as pa

    kind, said = field.type, field.metadata or {}
    if isinstance(kind, pa.BaseExtensionType):
        _check_storage(kind.extension_name, getattr(kind, "type_name", ""), kind.storage_type, field.name)
        kind = kind.storage_type
    elif _NAME in said:
        # Of a kind that pyarrow does not know: it stays what it is, text beside the field.
        _check_storage(said[_NAME].decode(errors="replace"), "", kind, field.name)
    if pa.types.is_dictionary(kind):
        _check_field(pa.field(field.name, kind.value_type))
    for number in range(kind.num_fields):
        _check_field(kind.field(number))


def _check_storage(extension: str, name: str, storage: Any, field: str) -> None:
    import pyarrow as pa

    kind = name or extension
    width = _WIDTHS.get(kind)
    binary = pa.types.is_binary(storage) or pa.types.is_large_binary(storage) or pa.types.is_binary_view(storage)
    right = True
    if width is not None:
        right = pa.types.is_fixed_size_binary(storage) and storage.byte_width == width
    elif kind in _BYTES:
        right = binary
    elif extension == "arrow.opaque":
        right = False
    if not right:
        raise TableError(f"column {field!r} says that it is {kind}, and holds {storage}, of which none can be made")
