"""What templates name, and whether that tells all that they are compiled from."""

import pytest

from dbt.adapters.lakehouse.templates import Named, named


@pytest.mark.parametrize("text", ["", "select 1", "select '{' || '}'"])
def test_plain_sql_names_nothing(text: str) -> None:
    assert named(text) == Named()


def test_names_attributes_dispatched_macros_and_variables_of_the_environment() -> None:
    found = named(
        "{{ config(materialized='table') }} select {{ dbt.type_string() }}, {{ cents(column) }}, "
        "{{ adapter.dispatch('scaled', 'shop')(1) }}, '{{ env_var('REGION', 'eu') }}' from {{ ref('orders') }}"
    )
    assert found.plain == ("cents", "column", "config", "env_var", "ref")
    assert found.dotted == (("adapter", "dispatch"), ("dbt", "type_string"))
    assert found.dispatched == ("scaled",)
    assert found.environment == ("REGION",)
    assert not found.unclear


@pytest.mark.parametrize(
    "text",
    [
        "{% macro m(run_query) %}{{ run_query }}{% endmacro %}",
        "{% set run_query = 1 %}{{ run_query }}",
        "{% for run_query in [1] %}{{ run_query }}{% endfor %}",
    ],
)
def test_own_variables_are_not_names(text: str) -> None:
    assert "run_query" not in named(text).plain


def test_what_is_set_on_one_way_only_may_be_something_else_on_another() -> None:
    found = named("{% if this %}{% set run_query %}x{% endset %}{% endif %}{{ run_query('select 1') }}")
    assert "run_query" in found.plain
    assert found.own == ("run_query",)


@pytest.mark.parametrize("name", ["run_started_at", "invocation_id", "graph", "flags", "adapter", "var"])
def test_what_dbt_knows_is_a_name_even_if_it_is_set(name: str) -> None:
    found = named(f"{{% if false %}}{{% set {name} %}}x{{% endset %}}{{% endif %}}{{{{ {name} }}}}")
    assert name in found.plain


@pytest.mark.parametrize(
    "text",
    [
        "{{ [1, 2] | random }}",
        "{{ [[1, 2]] | map('random') | list }}",
        "{{ adapter.dispatch(name)() }}",
        "{{ env_var(name) }}",
        "{% set find = adapter.dispatch %}{{ find('x')() }}",
        "{% set read = env_var %}{{ read('X') }}",
        "{{ m(env_var) }}",
        "{% if %}",
        "{{ ref('x' }}",
    ],
)
def test_what_names_do_not_tell_is_unclear(text: str) -> None:
    assert named(text).unclear


@pytest.mark.parametrize("text", ["{{ modules['datetime'].date.today() }}", "{{ adapter['execute']('x') }}"])
def test_an_object_that_is_not_used_by_an_attribute_is_a_plain_name(text: str) -> None:
    assert set(named(text).plain) & {"modules", "adapter"}
