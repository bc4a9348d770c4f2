"""``PREPARE`` and ``EXECUTE``: a prepared statement reads the lake each time it is executed, by whatever worker does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.run import changes
from dbt.adapters.lakehouse.run.catalog_sql import deallocated_by, executed_by, prepared_by
from dbt.adapters.lakehouse.run.statements import Kind, Statement, parse

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession

_READING = (Kind.SELECT, Kind.OTHER)


class Prepared:
    """A session's prepared statements, by name."""

    def __init__(self) -> None:
        self._statements: dict[str, tuple[str, str]] = {}

    def note(self, session: RunSession, sql: str) -> None:
        """Look at a statement that is about to run. Raises ``SqlError`` where it prepares what would write to the lake."""
        if (gone := deallocated_by(sql)) is not None:
            self._statements.pop(gone, None)
        found = prepared_by(sql)
        if found is None:
            return
        name, body = found
        statement = parse(body)
        if _writes_to_the_lake(session, statement):
            raise SqlError(
                f"PREPARE {name} is refused: a prepared statement cannot write to the lake, since DuckDB would run it where no "
                "commit is made; write the statement itself"
            )
        self._statements[name] = (sql, body)

    def of(self, sql: str) -> tuple[str, str] | None:
        """The PREPARE, and the statement in it, that an EXECUTE is about; None of anything else."""
        if not self._statements:
            return None
        name = executed_by(sql)
        return self._statements.get(name) if name is not None else None


def _writes_to_the_lake(session: RunSession, statement: Statement) -> bool:
    if statement.kind in _READING or changes.is_temporary(session, statement):
        return False
    return statement.target.name == "" or session.planner.resolve(statement.target) is not None
