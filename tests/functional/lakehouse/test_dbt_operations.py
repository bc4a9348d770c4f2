"""The verbs of `lakehouse` as dbt operations, for places where only dbt runs."""

from __future__ import annotations

import re
from pathlib import Path

import click
from dbt_shop import Shop

import dbt.include.lakehouse
from dbt.adapters.lakehouse.catalog.model import RefKind
from dbt.adapters.lakehouse.cli.main import lakehouse

MACROS = Path(dbt.include.lakehouse.__file__).parent / "macros" / "operations.sql"


def operate(shop: Shop, name: str, arguments: str = "{}", *, code: int = 0) -> str:
    return shop.dbt("run-operation", name, "--args", arguments, code=code).output


def test_branch_build_merge_with_dbt_alone(shop: Shop) -> None:
    shop.outputs(work={"branch": "work"})
    shop.models(one="select 1 as a")
    shop.dbt("run")
    said = operate(shop, "lakehouse_create_branch", "{name: work, from: main}")
    assert "created branch work at" in said
    shop.models(one="select 2 as a")
    shop.dbt("run", "--target", "work")
    assert shop.rows("select a from one") == [(1,)]
    said = operate(shop, "lakehouse_merge", "{from: work, into: main, dry_run: true}")
    assert "would merge work into main" in said
    assert shop.rows("select a from one") == [(1,)]
    operate(shop, "lakehouse_merge", "{from: work, into: main}")
    assert shop.rows("select a from one") == [(2,)]
    operate(shop, "lakehouse_create_tag", "{name: v1, at: main}")
    with shop.lake() as lake:
        assert [ref.name for ref in lake.catalog.refs(RefKind.TAG)] == ["v1"]


def test_what_fails_fails_the_operation(shop: Shop) -> None:
    shop.outputs(work={"branch": "work"})
    shop.models(one="select 1 as a")
    shop.dbt("run")
    shop.dbt("run", "--target", "work")
    for target, value in (("dev", 2), ("work", 3)):
        shop.models(one=f"select {value} as a")
        shop.dbt("run", "--target", target)
    said = operate(shop, "lakehouse_merge", "{from: work, into: main}", code=1)
    assert "shop.one" in said
    assert "changed on both sides" in said
    assert shop.rows("select a from one") == [(2,)]
    assert "no branch, tag or commit 'nowhere'" in operate(
        shop, "lakehouse_merge", "{from: nowhere, into: main}", code=1
    )


def test_macros_of_a_project_can_go_on_with_what_a_command_says(shop: Shop) -> None:
    shop.write(
        {
            "macros/own.sql": """
            {% macro names() %}
              {% for branch in fromjson(adapter.lakehouse("branch", "list", json=true)) %}
                {{ print("found " ~ branch.name) }}
              {% endfor %}
            {% endmacro %}
            {% macro wrong() %} {{ adapter.lakehouse("branch", "crate", "x") }} {% endmacro %}
            {% macro forbidden() %} {{ adapter.lakehouse("serve") }} {% endmacro %}
            """
        }
    )
    shop.models(one="select 1 as a")
    shop.dbt("run")
    assert "found main" in operate(shop, "names")
    assert "No such command 'crate'" in operate(shop, "wrong", code=1)
    assert "cannot be run inside of dbt" in operate(shop, "forbidden", code=1)


def test_each_macro_calls_one_command_with_options_that_it_has() -> None:
    macros = re.findall(r"{% macro (\w+)\(.*?\) %}(.*?){% endmacro %}", MACROS.read_text(), re.DOTALL)
    assert len(macros) > 15
    for name, body in macros:
        assert name.startswith("lakehouse_")
        call = re.fullmatch(r"\s*{{ print\(adapter\.lakehouse\((.*)\)\) }}\s*", body)
        assert call is not None, name
        command: click.Command = lakehouse
        for word in re.findall(r'"(\w+)"(?!:)', call[1]):
            assert isinstance(command, click.Group), name
            command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts}
        said = {*re.findall(r"(\w+)=", call[1]), *re.findall(r'"(\w+)":', call[1])}
        assert {f"--{option.replace('_', '-')}" for option in said} <= options, name


def test_what_people_change_by_hand_is_an_operation() -> None:
    names = set(re.findall(r"{% macro lakehouse_(\w+)\(", MACROS.read_text()))
    assert names >= {
        "merge",
        "revert",
        "reset",
        "check",
        "log",
        "show",
        "diff",
        "runs",
        "run",
        "rerun",
        "gc",
        "compact",
    }
    assert names >= {f"{verb}_{what}" for verb in ("create", "delete") for what in ("branch", "tag")}


def test_going_back_with_dbt_alone(shop: Shop) -> None:
    for value in (1, 2):
        shop.models(one=f"select {value} as a", two="select a from {{ ref('one') }}")
        shop.dbt("run")
    said = operate(shop, "lakehouse_revert", "{what: shop.one, to: main~1}", code=1)
    assert "stands on it" in said
    assert "shop.two" in said
    operate(shop, "lakehouse_revert", "{what: shop.one, to: main~1, with_dependants: true}")
    assert shop.rows("select * from one, two") == [(1, 1)]
    assert "all that main holds stands on" in operate(shop, "lakehouse_check")
