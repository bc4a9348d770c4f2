"""``dbt.tests.adapter.simple_seed.test_seed_type_override``."""

import pytest
from dbt.tests.adapter.simple_seed import fixtures
from dbt.tests.adapter.simple_seed.test_seed_type_override import BaseSimpleSeedColumnOverride

_TYPE_NAMES = {
    "date": "DATE",
    "text": "VARCHAR",
    "integer": "INTEGER",
    "boolean": "BOOLEAN",
    "timestamp without time zone": "TIMESTAMP",
}


class TestSimpleSeedColumnOverride(BaseSimpleSeedColumnOverride):
    """DuckDB's names of the types, where the suite has Postgres'."""

    @pytest.fixture(scope="class")
    def models(self):
        text = fixtures.properties__schema_yml
        for theirs, ours in _TYPE_NAMES.items():
            text = text.replace(f"type: {theirs}\n", f"type: {ours}\n")
        return {"schema.yml": text}
