from __future__ import annotations

import pytest

from dbt.adapters.lakehouse.cli.names import TableName, check_new_name, parse_table_name
from dbt.adapters.lakehouse.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("raw.flights", "raw", "flights"),
        ('"my schema"."odd.name"', "my schema", "odd.name"),
        ('raw."a""b"', "raw", 'a"b'),
        ("Raw.Flüge-2013", "Raw", "Flüge-2013"),
    ],
)
def test_names_that_can_be_read(text: str, schema: str, name: str) -> None:
    assert parse_table_name(text) == TableName(schema, name)


@pytest.mark.parametrize(
    "text", ["flights", "", ".", "raw.", ".flights", "a.b.c", 'raw."x', 'raw.x"y"', "a..b", '""."x"']
)
def test_names_that_cannot(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write SCHEMA\.NAME"):
        parse_table_name(text)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (TableName("raw", "../x"), "'../x' cannot name"),
        (TableName("raw", "a.b"), "'a.b' cannot name"),
        (TableName("raw", "a\nb"), "cannot name"),
        (TableName("lake@v1", "b"), "cannot name"),
        (TableName("-raw", "b"), "beginning with a letter"),
        (TableName("raw", "x" * 300), "has 300 characters"),
        (TableName("information_schema", "x"), "belongs to the database itself"),
    ],
)
def test_names_that_no_new_table_gets(name: TableName, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_new_name(name)
    assert says in str(caught.value)


def test_sql_quotes() -> None:
    assert TableName("raw", 'a"b').sql("lake") == '"lake"."raw"."a""b"'
