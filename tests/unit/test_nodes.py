"""When the keys of an incremental strategy bound what its statements touch, and when they do not."""

from __future__ import annotations

from typing import Any

import pytest

from dbt.adapters.lakehouse import nodes
from dbt.adapters.lakehouse.run import tokens

SOURCE = '"c__dbt_tmp"'
TARGET = '"lake"."s"."c"'
MERGE = (
    f"merge into {TARGET} as DBT_INTERNAL_DEST using {SOURCE} as DBT_INTERNAL_SOURCE on ({{}}) "
    "when matched then update by name when not matched then insert by name"
)
KEY = "DBT_INTERNAL_SOURCE.id = DBT_INTERNAL_DEST.id"
DELETE = f"delete from {TARGET} where (id) in (select (id) from {SOURCE})"
JOINED = (
    f"delete from {TARGET} as DBT_INCREMENTAL_TARGET using {SOURCE} "
    f"where ({SOURCE}.a = DBT_INCREMENTAL_TARGET.a and {SOURCE}.b = DBT_INCREMENTAL_TARGET.b)"
)
INSERT = f'insert into {TARGET} ("id") (select "id" from {SOURCE})'


def matching(strategy: str, *statements: str, **config: Any) -> str | None:
    return nodes.matching({"config": config}, strategy, SOURCE, "c", statements)


def test_statements_bound_to_their_keys_need_only_the_rows_with_those() -> None:
    assert matching("merge", MERGE.format(KEY), unique_key="id") == (
        f"EXISTS (SELECT 1 FROM {SOURCE} AS s WHERE s.id IS NOT DISTINCT FROM t.id)"
    )
    assert matching("merge", MERGE.format("FALSE")) == "false"
    assert matching("delete+insert", DELETE, INSERT, unique_key="id") == f"(id) IN (SELECT (id) FROM {SOURCE})"
    joined = matching("delete+insert", JOINED, INSERT, unique_key=["a", "b"])
    assert joined is not None
    assert "s.b IS NOT DISTINCT FROM t.b" in joined
    assert matching("delete+insert", INSERT) == "false"


@pytest.mark.parametrize(
    ("strategy", "statements"),
    [
        ("merge", [MERGE.format(f"{KEY}) and (DBT_INTERNAL_DEST.d > (select max(d) from {TARGET})")]),
        ("merge", [MERGE.format(f"{KEY} or DBT_INTERNAL_DEST.d = 1")]),
        ("merge", [MERGE.format("DBT_INTERNAL_SOURCE.other = DBT_INTERNAL_DEST.other")]),
        ("merge", [MERGE.format(KEY) + " when not matched by source then delete"]),
        ("merge", [f"delete from {TARGET}", MERGE.format(KEY)]),
        ("delete+insert", [DELETE + " and d = 3 or d = 9", INSERT]),
        ("delete+insert", [DELETE + f" and d > (select max(d) from {TARGET})", INSERT]),
        ("delete+insert", [f"delete from {TARGET} where d > 3", INSERT]),
        ("delete+insert", [f"update {TARGET} set d = 1", INSERT]),
        ("own", [DELETE, INSERT]),
    ],
)
def test_statements_that_may_touch_other_rows_get_all_of_them(strategy: str, statements: list[str]) -> None:
    assert matching(strategy, *statements, unique_key="id") is None


@pytest.mark.parametrize(
    ("delete", "insert", "plain"),
    [
        ("", "", True),
        ("/* why */", "", True),
        (" and (id > 5)", "", False),
        ("", " and id > 5", False),
        ("; delete from other", "", False),
    ],
)
def test_batches_are_plain_if_their_statements_replace_a_time_and_no_more(delete, insert, plain):
    time = nodes.batch_range(
        {"config": {"event_time": "ts"}, "batch": {"event_time_start": "2024-01-01", "event_time_end": "2024-01-02"}}
    )
    assert time.condition == "ts >= '2024-01-01' AND ts < '2024-01-02'"
    statements = tokens.split(
        f"delete from lake.s.t where {time.condition}{delete};\n"
        f'insert into lake.s.t ("id", "ts") select "id", "ts" from "t__dbt_tmp" where {time.condition}{insert}'
    )
    assert nodes.is_plain_batch(time, statements, '"t__dbt_tmp"', '"lake"."s"."t"', ["id", "ts"]) is plain
    assert not nodes.is_plain_batch(time, statements, '"t__dbt_tmp"', '"lake"."s"."u"', ["id", "ts"])
    assert not nodes.is_plain_batch(time, statements, '"t__dbt_tmp"', '"lake"."s"."t"', ["id", "ts", "more"])


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("create table lake.shop.orders as select 1 as x", ("orders", "select 1 as x", False)),
        ("/* c */ CREATE OR REPLACE TABLE lake.SHOP.orders__tmp AS (select 1)", ("orders__tmp", "(select 1)", True)),
        ("create table lake.shop.other as select 1 as x", None),
        ("create table lake.audit.orders as select 1 as x", None),
        ('create table "lake@main".shop.orders as select 1 as x', None),
        ("create table orders as select 1 as x", None),
        ("create temp table orders as select 1 as x", None),
        ("create table if not exists lake.shop.orders as select 1 as x", None),
        ("create table lake.shop.orders (a) as select 1 as x", None),
        ("create table lake.shop.orders (a int)", None),
        ("create table lake.shop.orders clone lake.shop.other", None),
        ("create view lake.shop.orders as select 1 as x", None),
        ("create table lake.shop.orders as select 1 as x; select 2", None),
        ("select 'create table'", None),
    ],
)
def test_a_nodes_own_table_is_known_by_its_statement(sql: str, found: tuple[str, str, bool] | None) -> None:
    node = {"resource_type": "model", "alias": "orders", "schema": "shop"}
    answer = nodes.own_table(sql, node, "lake")
    assert (answer and (answer[0].name, *answer[1:])) == found
    assert nodes.own_table(sql, {**node, "resource_type": "test"}, "lake") is None
