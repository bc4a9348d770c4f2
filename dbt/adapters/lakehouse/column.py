"""Columns as dbt sees them, with DuckDB's type names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from dbt.adapters.base.column import Column

from dbt.adapters.lakehouse.quoting import quote

_INTEGERS = frozenset(
    [
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "hugeint",
        "utinyint",
        "usmallint",
        "uinteger",
        "ubigint",
        "uhugeint",
        "int1",
        "int2",
        "int4",
        "int8",
        "int",
    ]
)
_FLOATS = frozenset(["real", "float", "float4", "float8", "double"])
_STRINGS = frozenset(["varchar", "text", "string", "char", "bpchar", "json"])
_DECIMAL = re.compile(r"(?:decimal|numeric)\((\d+),\s*(\d+)\)", re.IGNORECASE)


@dataclass
class LakehouseColumn(Column):
    """A column of a lake relation."""

    TYPE_LABELS: ClassVar[dict[str, str]] = {"STRING": "VARCHAR", "TEXT": "VARCHAR"}

    @property
    def quoted(self) -> str:
        """The name as SQL takes it whatever it holds."""
        return quote(self.column)

    @property
    def data_type(self) -> str:
        """DuckDB's name of the type."""
        return self.dtype

    def is_integer(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.lower() in _INTEGERS

    def is_float(self) -> bool:
        """Whether it holds floating point numbers."""
        return self.dtype.lower() in _FLOATS

    def is_numeric(self) -> bool:
        """Whether it holds decimals."""
        return self.dtype.lower().startswith(("decimal", "numeric"))

    def is_number(self) -> bool:
        """Whether it holds numbers."""
        return self.is_integer() or self.is_float() or self.is_numeric()

    def is_string(self) -> bool:
        """Whether it holds text."""
        return self.dtype.lower().partition("(")[0] in _STRINGS

    def string_size(self) -> int:
        """DuckDB's text has no length; dbt wants a number all the same."""
        return 256

    def can_expand_to(self, other_column: Column) -> bool:
        """Text never needs to be widened."""
        return False

    @classmethod
    def typed(cls, name: str, dtype: str) -> LakehouseColumn:
        """A column of a DuckDB type, decimals with their precision and scale."""
        match = _DECIMAL.fullmatch(dtype)
        if match is not None:
            return cls(
                column=name, dtype=dtype, numeric_precision=int(match.group(1)), numeric_scale=int(match.group(2))
            )
        return cls(column=name, dtype=dtype)

    def __repr__(self) -> str:
        return f"<LakehouseColumn {self.name} ({self.data_type})>"
