"""Which hooks and headers may prepare what nodes need."""

from __future__ import annotations

import pytest

from dbt.adapters.lakehouse.preflight.hooks import header, may_prepare


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "select 1",
        "insert into {{ this }} values (1)",
        "delete from {{ ref('a') }} where id = 1; update {{ source('raw', 'b') }} set x = 2",
        "insert into audit values ('{{ this.name }}', '{{ target.schema }}')",
        "grant select on {{ this }} to somebody",
        "comment on table {{ this }} is 'said'",
        "begin; truncate table {{ this }}; commit",
    ],
)
def test_hooks_that_change_rows_prepare_nothing(sql: str) -> None:
    assert not may_prepare(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "create macro f(x) as x",
        "create temp table t as select 1",
        "alter table {{ this }} add column late int",
        "drop table if exists {{ this }}",
        "{{ some_macro() }}",
        "{% if execute %}select 1{% endif %}",
        "set timezone = 'UTC'",
        "attach 'x.db'",
        "load spatial",
        "insert into {{ this }} values (1); create view v as select 1",
        "copy {{ this }} to 'file.csv'",
        "{{ var('hook') }}",
    ],
)
def test_all_others_may(sql: str) -> None:
    assert may_prepare(sql)


def test_headers_that_may_run_ahead() -> None:
    assert header(None) == ((), True)
    assert header("create temp macro f(x) as x; set timezone = 'UTC';")[1]
    assert header("create or replace function f(x) as x")[0] == ("create or replace function f(x) as x",)
    assert not header("create temp table t as select 1")[1]
    assert not header("insert into t values (1)")[1]
    assert not header("create macro f(x) as x; drop table t")[1]
