"""``dbt.tests.adapter.relations.test_changing_relation_type``."""

from dbt.tests.adapter.relations.test_changing_relation_type import BaseChangeRelationTypeValidator


class TestChangeRelationTypeValidator(BaseChangeRelationTypeValidator):
    pass
