"""``dbt.tests.adapter.basic.test_docs_generate``."""

from typing import Any

import pytest
from dbt.tests.adapter.basic.expected_catalog import base_expected_catalog, expected_references_catalog
from dbt.tests.adapter.basic.test_docs_generate import BaseDocsGenerate, BaseDocsGenReferences


class _Node(str):
    """The node that wrote a relation, which owns it here; in the suite it is one database user for all."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith(("model.test.", "seed.test."))

    __hash__ = None  # type: ignore[assignment]


# What DuckDB calls the types that the suite names as Postgres does.
_TYPES = {
    "role": _Node("a node"),
    "id_type": "INTEGER",
    "text_type": "VARCHAR",
    "time_type": "TIMESTAMP",
    "view_type": "VIEW",
    "table_type": "BASE TABLE",
}


class _Stats(dict[str, Any]):
    """Statistics of a table with so many rows (None: of a view, which has none); the rest differs with every run."""

    def __init__(self, rows: int | None) -> None:
        super().__init__(row_count=rows)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        rows = self["row_count"]
        known = {"has_stats", "branch", "commit", "last_modified"}
        if rows is None:
            return set(other) == known
        known |= {"row_count", "bytes", "files", "snapshot_id", "metadata_location"}
        return set(other) == known and other["row_count"]["value"] == rows and other["bytes"]["value"] > 0

    __hash__ = None  # type: ignore[assignment]


class TestDocsGenerate(BaseDocsGenerate):
    """DuckDB's names of types, and nodes as owners, where the suite has Postgres'; statistics are those of an Iceberg table."""

    @pytest.fixture(scope="class")
    def expected_catalog(self, project):
        return base_expected_catalog(project, model_stats=_Stats(None), seed_stats=_Stats(1), **_TYPES)


class TestDocsGenReferences(BaseDocsGenReferences):
    """DuckDB's names of types, and nodes as owners, where the suite has Postgres'; statistics are those of an Iceberg table."""

    @pytest.fixture(scope="class")
    def expected_catalog(self, project):
        return expected_references_catalog(
            project,
            model_stats=_Stats(1),
            seed_stats=_Stats(1),
            view_summary_stats=_Stats(None),
            bigint_type="BIGINT",
            **_TYPES,
        )
