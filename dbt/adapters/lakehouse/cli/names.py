"""``SCHEMA.NAME`` as an argument."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.quoting import qualified

_PART = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')
_PLAIN = re.compile(r"\w[\w $-]*")
_RESERVED_SCHEMAS = frozenset({"information_schema", "pg_catalog"})
_LONGEST = 150


@dataclass(frozen=True)
class TableName:
    """A table's schema and name."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def sql(self, database: str) -> str:
        """The relation in SQL."""
        return qualified(database, self.schema, self.name)


def parse_table_name(text: str) -> TableName:
    """Read ``schema.name``; a part may stand in double quotes, as in SQL. Raises ``ConfigError``."""
    parts, position = [], 0
    while match := _PART.match(text, position):
        quoted, plain = match.groups()
        parts.append(quoted.replace('""', '"') if quoted is not None else plain)
        position = match.end()
        if text[position : position + 1] != ".":
            break
        position += 1
    if position != len(text) or text.endswith(".") or len(parts) != 2:
        raise ConfigError(f"{text!r} is not a table's name; write SCHEMA.NAME, raw.flights for instance")
    return TableName(*parts)


def check_new_name(name: TableName) -> None:
    """Refuse names that would make trouble somewhere: in SQL without quotes, in a file's path, in a shell."""
    for part in (name.schema, name.name):
        if not _PLAIN.fullmatch(part):
            raise ConfigError(
                f"{part!r} cannot name a schema or table here; use letters, digits, '_', '-', '$' and spaces, "
                "beginning with a letter, digit or '_'"
            )
        if len(part) > _LONGEST:
            raise ConfigError(f"{part[:20]}… has {len(part)} characters; a name may have {_LONGEST}")
    if name.schema.lower() in _RESERVED_SCHEMAS:
        raise ConfigError(f"the schema {name.schema!r} belongs to the database itself; choose another")
