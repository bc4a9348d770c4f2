"""``dbt.tests.adapter.basic.test_docs_generate``."""

from typing import Any

import pytest
from dbt.tests.adapter.basic.expected_catalog import base_expected_catalog, expected_references_catalog
from dbt.tests.adapter.basic.test_docs_generate import BaseDocsGenerate, BaseDocsGenReferences

# What DuckDB calls the types that the suite names as Postgres does; nobody owns a relation here.
_TYPES = {
    "role": None,
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
        if rows is None:
            return set(other) == {"has_stats"} and other["has_stats"]["value"] is False
        known = {"has_stats", "row_count", "bytes", "snapshot_id", "metadata_location"}
        return set(other) == known and other["row_count"]["value"] == rows and other["bytes"]["value"] > 0

    __hash__ = None  # type: ignore[assignment]


class TestDocsGenerate(BaseDocsGenerate):
    @pytest.fixture(scope="class")
    def expected_catalog(self, project):
        return base_expected_catalog(project, model_stats=_Stats(None), seed_stats=_Stats(1), **_TYPES)


class TestDocsGenReferences(BaseDocsGenReferences):
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
