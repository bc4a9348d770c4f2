"""``dbt.tests.adapter.basic.test_get_catalog_for_single_relation``."""

import pytest
from dbt.tests.adapter.basic.test_get_catalog_for_single_relation import BaseGetCatalogForSingleRelation
from dbt.tests.fixtures.project import TestProjInfo
from dbt_common.contracts.metadata import CatalogTable


class TestGetCatalogForSingleRelation(BaseGetCatalogForSingleRelation):
    """Abstract in the suite: the adapter says what the catalog of its relations looks like."""

    @pytest.fixture(scope="class")
    def expected_catalog_my_seed(self, project):
        return _SingleRelation(project, "my_seed", "BASE TABLE", rows=1)

    @pytest.fixture(scope="class")
    def expected_catalog_my_view_model(self, project):
        return _SingleRelation(project, "my_view_model", "VIEW", rows=None)


class _SingleRelation:
    """A relation with the columns of the suite's seed and such statistics as it has."""

    def __init__(self, project: TestProjInfo, name: str, kind: str, *, rows: int | None) -> None:
        self._schema, self._branch = project.test_schema, project.adapter.config.credentials.target_branch()
        self._name, self._kind, self._rows = name, kind, rows

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
            and stats["has_stats"].value is True
            and stats["branch"].value == self._branch
            and (stats["row_count"].value if "row_count" in stats else None) == self._rows
        )

    __hash__ = None  # type: ignore[assignment]
