"""``dbt.tests.adapter.basic``."""

from typing import Any

import pytest
from dbt.tests.adapter.basic.expected_catalog import base_expected_catalog, expected_references_catalog
from dbt.tests.adapter.basic.test_adapter_methods import BaseAdapterMethod
from dbt.tests.adapter.basic.test_base import BaseSimpleMaterializations
from dbt.tests.adapter.basic.test_docs_generate import BaseDocsGenerate, BaseDocsGenReferences
from dbt.tests.adapter.basic.test_empty import BaseEmpty
from dbt.tests.adapter.basic.test_ephemeral import BaseEphemeral
from dbt.tests.adapter.basic.test_generic_tests import BaseGenericTests
from dbt.tests.adapter.basic.test_get_catalog_for_single_relation import BaseGetCatalogForSingleRelation
from dbt.tests.adapter.basic.test_incremental import (
    BaseIncremental,
    BaseIncrementalBadStrategy,
    BaseIncrementalNotSchemaChange,
)
from dbt.tests.adapter.basic.test_singular_tests import BaseSingularTests
from dbt.tests.adapter.basic.test_singular_tests_ephemeral import BaseSingularTestsEphemeral
from dbt.tests.adapter.basic.test_snapshot_check_cols import BaseSnapshotCheckCols
from dbt.tests.adapter.basic.test_snapshot_timestamp import BaseSnapshotTimestamp
from dbt.tests.adapter.basic.test_table_materialization import BaseTableMaterialization
from dbt.tests.adapter.basic.test_validate_connection import BaseValidateConnection
from dbt_common.contracts.metadata import CatalogTable

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


class TestAdapterMethod(BaseAdapterMethod):
    pass


class TestSimpleMaterializations(BaseSimpleMaterializations):
    pass


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


class TestEmpty(BaseEmpty):
    pass


class TestEphemeral(BaseEphemeral):
    pass


class TestGenericTests(BaseGenericTests):
    pass


class TestGetCatalogForSingleRelation(BaseGetCatalogForSingleRelation):
    @pytest.fixture(scope="class")
    def expected_catalog_my_seed(self, project):
        return _SingleRelation(project.test_schema, "my_seed", "BASE TABLE", rows=1)

    @pytest.fixture(scope="class")
    def expected_catalog_my_view_model(self, project):
        return _SingleRelation(project.test_schema, "my_view_model", "VIEW", rows=None)


class _SingleRelation:
    """A relation with the columns of the suite's seed and such statistics as it has."""

    def __init__(self, schema: str, name: str, kind: str, *, rows: int | None) -> None:
        self._schema, self._name, self._kind, self._rows = schema, name, kind, rows

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, CatalogTable)
        metadata, stats = other.metadata, other.stats
        columns = {name: (column.index, column.type) for name, column in other.columns.items()}
        return (
            (metadata.database, metadata.schema, metadata.name, metadata.type)
            == ("lake", self._schema, self._name, self._kind)
            and columns
            == {
                "id": (1, "INTEGER"),
                "first_name": (2, "VARCHAR"),
                "email": (3, "VARCHAR"),
                "ip_address": (4, "VARCHAR"),
                "updated_at": (5, "TIMESTAMP"),
            }
            and stats["has_stats"].value is (self._rows is not None)
            and (stats["row_count"].value if "row_count" in stats else None) == self._rows
        )

    __hash__ = None  # type: ignore[assignment]


class TestIncremental(BaseIncremental):
    pass


class TestIncrementalNotSchemaChange(BaseIncrementalNotSchemaChange):
    pass


class TestIncrementalBadStrategy(BaseIncrementalBadStrategy):
    pass


class TestSingularTests(BaseSingularTests):
    pass


class TestSingularTestsEphemeral(BaseSingularTestsEphemeral):
    pass


class TestSnapshotCheckCols(BaseSnapshotCheckCols):
    pass


class TestSnapshotTimestamp(BaseSnapshotTimestamp):
    pass


class TestTableMaterialization(BaseTableMaterialization):
    pass


class TestValidateConnection(BaseValidateConnection):
    pass
