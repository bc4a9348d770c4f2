"""``dbt.tests.adapter.materialized_view``."""

from __future__ import annotations

from dbt.tests.adapter.materialized_view.basic import MaterializedViewBasic
from dbt.tests.adapter.materialized_view.changes import (
    MaterializedViewChanges,
    MaterializedViewChangesApplyMixin,
    MaterializedViewChangesContinueMixin,
    MaterializedViewChangesFailMixin,
)
from dbt.tests.util import get_model_file, set_model_file

from dbt.adapters.lakehouse.catalog.model import Entry, Materialized, TableEntry


def standing(project, relation) -> Entry | None:
    """What the catalog has at a relation's name."""
    with project.adapter.connection_named("__test"):
        return project.adapter.connections.session().lookup(project.adapter._name(relation))


class Types:
    """What the suite leaves to each adapter: how a row is inserted, a view refreshed, and a kind of relation told."""

    @staticmethod
    def query_relation_type(project, relation) -> str | None:
        entry = standing(project, relation)
        with project.adapter.connection_named("__test"):
            listed = project.adapter.list_relations_without_caching(relation.without_identifier())
        known = {one.identifier: str(one.type) for one in listed}.get(relation.identifier)
        assert (entry is None) == (known is None)
        return known


class TestMaterializedViewBasic(Types, MaterializedViewBasic):
    @staticmethod
    def insert_record(project, table, record):
        project.run_sql(f"insert into {table} values {record}")

    @staticmethod
    def refresh_materialized_view(project, materialized_view):
        project.run_sql(f"refresh materialized view {materialized_view}")

    @staticmethod
    def query_row_count(project, relation):
        return project.run_sql(f"select count(*) from {relation}", fetch="one")[0]


class Changes(Types, MaterializedViewChanges):
    """A property that is the table's alone is altered; the order of rows needs other files."""

    @staticmethod
    def _view(project, relation) -> Materialized:
        entry = standing(project, relation)
        assert isinstance(entry, TableEntry)
        assert entry.view is not None
        return entry.view

    @classmethod
    def check_start_state(cls, project, materialized_view):
        view = cls._view(project, materialized_view)
        assert (dict(view.properties), view.sort_by) == ({}, ())

    @staticmethod
    def _configure(project, relation, config):
        text = get_model_file(project, relation)
        set_model_file(project, relation, text.replace("materialized_view',", f"materialized_view', {config},"))

    @classmethod
    def change_config_via_alter(cls, project, materialized_view):
        cls._configure(project, materialized_view, "table_properties={'owner': 'ann'}")

    @classmethod
    def check_state_alter_change_is_applied(cls, project, materialized_view):
        assert dict(cls._view(project, materialized_view).properties) == {"owner": "ann"}

    @classmethod
    def change_config_via_replace(cls, project, materialized_view):
        cls._configure(project, materialized_view, "sort_by='value desc'")

    @classmethod
    def check_state_replace_change_is_applied(cls, project, materialized_view):
        assert cls._view(project, materialized_view).sort_by == ("value desc",)


class TestMaterializedViewChangesApply(Changes, MaterializedViewChangesApplyMixin):
    pass


class TestMaterializedViewChangesContinue(Changes, MaterializedViewChangesContinueMixin):
    pass


class TestMaterializedViewChangesFail(Changes, MaterializedViewChangesFailMixin):
    pass
