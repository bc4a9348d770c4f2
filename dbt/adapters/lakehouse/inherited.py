"""What dbt-duckdb's macros ask of an adapter, and the answer is always the same here."""

from __future__ import annotations

from typing import Any

from dbt.adapters.base.meta import AdapterMeta, available


class AnswersToInheritedMacros(metaclass=AdapterMeta):
    """Part of ``LakehouseAdapter``; a test holds it to the macros of the installed dbt-duckdb."""

    @available
    def escape_sql_string(self, value: Any) -> str:
        """For use between single quotes."""
        return str(value).replace("'", "''")

    @available
    def get_binding_char(self) -> str:
        """DuckDB's parameter mark."""
        return "?"

    @available
    def is_motherduck(self) -> bool:
        """dbt-duckdb asks."""
        return False

    @available
    def is_ducklake(self, relation: Any) -> bool:
        """dbt-duckdb asks."""
        return False

    @available
    def use_ducklake_table_workarounds(self, relation: Any) -> bool:
        """dbt-duckdb asks."""
        return False

    @available
    def disable_transactions(self) -> bool:
        """dbt-duckdb asks; a run is the transaction."""
        return True

    @available
    def catalog_supports_foreign_keys(self, database: str) -> bool:
        """dbt-duckdb asks; Iceberg has none."""
        return False

    @available
    def existing_key_constraint_types(self, relation: Any) -> list[str]:
        """dbt-duckdb asks; only foreign keys would care."""
        return []

    @available
    def ensure_transaction(self) -> None:
        """dbt-duckdb asks; a run is the transaction."""

    @available
    def batch_id_for_model(self, model: Any) -> str:
        """dbt-duckdb asks for names of temporary tables that are not needed here."""
        return ""
