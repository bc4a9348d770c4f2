"""``dbt.tests.adapter.relations.test_dropping_schema_named``."""

from dbt.tests.adapter.relations.test_dropping_schema_named import BaseDropSchemaNamed


class TestDropSchemaNamed(BaseDropSchemaNamed):
    pass
