"""With real dbt and packages that are written for DuckDB in the ways that packages are: `docs/packages.md` tells of each."""

from __future__ import annotations

from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus

PACKAGE = {
    "packages/told/dbt_project.yml": """
name: told
version: "1.0"
models:
  told:
    of_duckdb: {+enabled: "{{ target.type in ['duckdb', 'snowflake'] }}"}
""",
    # By name: a literal test, in a macro, and in the package's own configuration.
    "packages/told/macros/told.sql": """
{% macro hashed(text) %}
  {%- if target.type == 'duckdb' -%} md5({{ text }})
  {%- elif target.type == 'snowflake' -%} sha1({{ text }})
  {%- elif execute -%} {{ exceptions.raise_compiler_error("told does not support " ~ target.type) }}
  {%- endif -%}
{% endmacro %}
{% macro series(n) %}{{ "range" if adapter.type() == 'duckdb' else "generate_array" }}({{ n }}){% endmacro %}
""",
    "packages/told/models/of_duckdb/only_there.sql": "select {{ told.hashed(\"'a'\") }} as h, {{ told.series(3) }} as s",
    # By dispatch: one macro has DuckDB's way, the other one has not.
    "packages/told/macros/asked.sql": """
{% macro initial(text) %}{{ return(adapter.dispatch('initial', 'told')(text)) }}{% endmacro %}
{% macro default__initial(text) %}{{ exceptions.raise_compiler_error("nobody knows") }}{% endmacro %}
{% macro duckdb__initial(text) %}({{ text }})[1]{% endmacro %}
{% macro median(x) %}{{ return(adapter.dispatch('median', 'told')(x)) }}{% endmacro %}
{% macro default__median(x) %}approx_middle({{ x }}){% endmacro %}
""",
}
USED = """{{ config(materialized='table') }}
select {{ told.initial("'abc'") }} as i, {{ told.median('n') }} as m, '{{ adapter.type() }}' as a from range(3) r(n)"""
OWN = "{% macro duckdb__median(x) %}median({{ x }}){% endmacro %}"
DISPATCH = "dispatch: [{macro_namespace: told, search_order: [shop, told]}]\n"


def test_packages_that_dispatch_and_packages_that_ask_for_a_name(shop: Shop) -> None:
    shop.write({**PACKAGE, "packages.yml": "packages: [{local: packages/told}]\n", "models/used.sql": USED})
    shop.dbt("deps")
    outcome = shop.dbt("build", code=2)
    assert "approx_middle" in outcome.output, "dispatch found DuckDB's way of the one, and none of the other"
    assert "only_there" not in outcome.output
    shop.write({"macros/median.sql": OWN, "dbt_project.yml": shop.read("dbt_project.yml") + DISPATCH})
    shop.dbt("build")
    assert shop.tables() == {"shop.used": [("a", 1.0, "lakehouse")]}
    shop.write({"profiles.yml": shop.read("profiles.yml").replace("schema: shop", "schema: shop, target_type: duckdb")})
    shop.dbt("build")
    assert shop.tables() == {
        "shop.used": [("a", 1.0, "duckdb")],
        "shop.only_there": [("0cc175b9c0f1b6a831c399e269772661", [0, 1, 2])],
    }, "another answer is another parse, without being told to"
    assert shop.runs()[0].status is RunStatus.PUBLISHED, "a run of the lake as ever"
