"""``dbt.tests.adapter.constraints``.

The suite compares the DDL that carries a constraint. Here none does: Iceberg has no constraints, so the adapter checks rows
before their table is committed. What the suite calls DDL is therefore the plain SELECT, and ``TestEnforcement`` shows that
each constraint holds all the same.
"""

import duckdb
import pytest
from dbt.tests.adapter.constraints.test_constraints import (
    BaseConstraintQuotedColumn,
    BaseConstraintsRollback,
    BaseConstraintsRuntimeDdlEnforcement,
    BaseIncrementalConstraintsColumnsEqual,
    BaseIncrementalConstraintsRollback,
    BaseIncrementalConstraintsRuntimeDdlEnforcement,
    BaseIncrementalContractSqlHeader,
    BaseIncrementalForeignKeyConstraint,
    BaseModelConstraintsRuntimeEnforcement,
    BaseTableConstraintsColumnsEqual,
    BaseTableContractSqlHeader,
    BaseViewConstraintsColumnsEqual,
)
from dbt.tests.util import relation_from_name, run_dbt, write_file

_SELECT = """
select id, color, date_day from (
    -- depends_on: <foreign_key_model_identifier>
    select 'blue' as color, 1 as id, '2019-01-01' as date_day
) as model_subq
"""


class _DuckDBTypes:
    """DuckDB's names of the types in messages, where the suite has Postgres'."""

    @pytest.fixture
    def int_type(self):
        return "INTEGER"

    @pytest.fixture
    def string_type(self):
        return "VARCHAR"

    @pytest.fixture
    def data_types(self, schema_int_type, int_type, string_type):
        return [
            ["1", schema_int_type, int_type],
            ["'1'", string_type, string_type],
            ["true", "bool", "BOOLEAN"],
            ["'2013-11-03 00:00:00-07'::timestamptz", "timestamptz", "TIMESTAMP WITH TIME ZONE"],
            ["'2013-11-03 00:00:00'::timestamp", "timestamp", "TIMESTAMP"],
            ["ARRAY['a','b','c']", "text[]", "VARCHAR[]"],
            ["ARRAY[1,2,3]", "int[]", "INTEGER[]"],
            ["'1'::numeric", "numeric", "DECIMAL(18,3)"],
            ["{'a': 1, 'b': 'x'}", "struct(a int, b text)", "STRUCT(a INTEGER, b VARCHAR)"],
        ]


class TestTableConstraintsColumnsEqual(_DuckDBTypes, BaseTableConstraintsColumnsEqual):
    pass


class TestViewConstraintsColumnsEqual(_DuckDBTypes, BaseViewConstraintsColumnsEqual):
    pass


class TestIncrementalConstraintsColumnsEqual(_DuckDBTypes, BaseIncrementalConstraintsColumnsEqual):
    pass


class _NoDdl:
    """The suite compares the text of CREATE TABLE with its constraints. Here rows are checked, and what is written is a query."""


class TestTableConstraintsRuntimeDdlEnforcement(_NoDdl, BaseConstraintsRuntimeDdlEnforcement):
    @pytest.fixture(scope="class")
    def expected_sql(self):
        return _SELECT


class TestIncrementalConstraintsRuntimeDdlEnforcement(_NoDdl, BaseIncrementalConstraintsRuntimeDdlEnforcement):
    @pytest.fixture(scope="class")
    def expected_sql(self):
        return _SELECT


class TestModelConstraintsRuntimeEnforcement(_NoDdl, BaseModelConstraintsRuntimeEnforcement):
    @pytest.fixture(scope="class")
    def expected_sql(self):
        return _SELECT


class TestConstraintQuotedColumn(_NoDdl, BaseConstraintQuotedColumn):
    @pytest.fixture(scope="class")
    def expected_sql(self):
        return """
        select id, "from", date_day from (
            select 'blue' as "from", 1 as id, '2019-01-01' as date_day
        ) as model_subq
        """


class TestTableConstraintsRollback(BaseConstraintsRollback):
    """This adapter's words of a broken constraint, where the suite has Postgres'."""

    @pytest.fixture(scope="class")
    def expected_error_messages(self):
        return ["NOT NULL constraint failed"]


class TestIncrementalConstraintsRollback(BaseIncrementalConstraintsRollback):
    """This adapter's words of a broken constraint, where the suite has Postgres'."""

    @pytest.fixture(scope="class")
    def expected_error_messages(self):
        return ["NOT NULL constraint failed"]


session_time_zone = pytest.mark.skipif(
    duckdb.__version__.startswith("2."),
    reason="DuckDB 2.0 knows SET TIME ZONE and not the fixture's SET SESSION TIME ZONE",
)


@session_time_zone
class TestTableContractSqlHeader(BaseTableContractSqlHeader):
    pass


@session_time_zone
class TestIncrementalContractSqlHeader(BaseIncrementalContractSqlHeader):
    pass


class TestIncrementalForeignKeyConstraint(BaseIncrementalForeignKeyConstraint):
    pass


_SCHEMA = """
models:
  - name: kept
    config: {contract: {enforced: true}}
    constraints:
      - {type: primary_key, columns: [id]}
      - {type: unique, columns: [color, day]}
      - {type: check, expression: "id < 100", name: small}
    columns:
      - {name: id, data_type: integer}
      - {name: color, data_type: varchar, constraints: [{type: not_null}]}
      - {name: day, data_type: date}
"""
_MODEL = """
{{{{ config(materialized='{}', unique_key='id', on_schema_change='fail') }}}}
select {}::integer as id, {} as color, date '{}' as day
"""


@pytest.mark.parametrize("materialized", ["table", "incremental"])
class TestEnforcement:
    @pytest.fixture(scope="class")
    def models(self):
        return {"kept.sql": _MODEL.format("table", 1, "'red'", "2024-01-01"), "schema.yml": _SCHEMA}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ((2, "null::varchar", "2024-01-02"), "NOT NULL constraint failed"),
            (("null", "'red'", "2024-01-02"), "NOT NULL constraint failed"),
            ((100, "'red'", "2024-01-02"), "CHECK constraint failed"),
            (("unnest([3, 4])", "'red'", "2024-01-02"), "UNIQUE constraint failed"),
            (("unnest([5, 5])", "case when random() < 2 then uuid()::varchar end", "2024-01-02"), "UNIQUE constraint"),
        ],
    )
    def test_what_breaks_a_constraint_is_not_written(self, project, materialized, values, message):
        write_file(_MODEL.format(materialized, 1, "'red'", "2024-01-01"), "models", "kept.sql")
        run_dbt(["run", "--full-refresh"])
        write_file(_MODEL.format(materialized, *values), "models", "kept.sql")
        results = run_dbt(["run"], expect_pass=False)
        assert message in results[0].message
        assert ".kept" in results[0].message
        rows = project.run_sql(f"select id, color from {relation_from_name(project.adapter, 'kept')}", fetch="all")
        assert rows == [(1, "red")]
