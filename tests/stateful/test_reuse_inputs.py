"""A model for each way of depending on something, and every one of those things changed: none is overlooked.

The models of a project stand apart from each other. It is built until nothing is left to do, then everything changes at once,
and every table must be as a lake has it that never reuses anything, and another one than before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from two_lakes import two_lakes

Files = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Files before and after; ``{name}.sql`` and ``{name}.py`` are models. ``properties`` are those in YAML, of both.

    What concerns all models changes at a ``step`` of its own.
    """

    before: Files
    after: Files = field(default_factory=dict)
    properties: tuple[dict[str, Any], dict[str, Any]] | None = None
    step: int = 1


def sql(code: str, **config: Any) -> str:
    given = {"materialized": "table", **config}
    return "{{ config(" + ", ".join(f"{key}={value!r}" for key, value in given.items()) + ") }}\n" + code


def macro(name: str, model: str, before: str, after: str, step: int = 1) -> Case:
    """A model that calls a macro whose file changes."""
    file = f"macros/{name}.sql"
    return Case(before={f"models/{name}.sql": sql(model), file: before}, after={file: after})


def python(name: str, head: str, before: Files, after: Files) -> Case:
    code = (
        f"import sys\nsys.path[:0] = ['.']\n{head}\n\n\ndef model(dbt, session):\n    dbt.config(materialized='table')\n"
        "    return session.sql('select ' + str(X) + ' as x')\n"
    )
    return Case(before={f"models/{name}.py": code, **before}, after=after)


ADDS = "{{% macro {0}(x) %}}{{{{ x }}}} + {1}{{% endmacro %}}"
PARENT = "select 1 as id, 3 as v union all select 2, 5"
KEPT = (
    "{% macro lakehouse__get_incremental_delete_insert_sql(arg_dict) %}"
    "insert into {{ arg_dict['target_relation'] }} select id, 77 as v from {{ arg_dict['temp_relation'] }}{% endmacro %}"
)

CASES: dict[str, Case] = {
    "plain": macro("plain", "select {{ m1(1) }} as x", ADDS.format("m1", 1), ADDS.format("m1", 2)),
    "inner": macro(
        "inner",
        "select {{ m2(1) }} as x",
        "{% macro m2(x) %}{{ m2b(x) }}{% endmacro %}" + ADDS.format("m2b", 1),
        "{% macro m2(x) %}{{ m2b(x) }}{% endmacro %}" + ADDS.format("m2b", 2),
    ),
    "package": macro("package", "select {{ shop.m3(1) }} as x", ADDS.format("m3", 1), ADDS.format("m3", 2)),
    "by_name": macro("by_name", "select {{ context['m' ~ 4](1) }} as x", ADDS.format("m4", 1), ADDS.format("m4", 2)),
    "dotted": macro("dotted", "select {{ context.m5(1) }} as x", ADDS.format("m5", 1), ADDS.format("m5", 2)),
    "shadowed": macro(
        "shadowed",
        "{% set m6 = m6(1) %}select {{ m6 }} as x",
        ADDS.format("m6", 1),
        ADDS.format("m6", 2),
    ),
    "set_block": macro(
        "set_block",
        "{% set found %}{{ m7(1) }}{% endset %}select {{ found }} as x",
        ADDS.format("m7", 1),
        ADDS.format("m7", 2),
    ),
    "loop": macro(
        "loop",
        "select {% for m8 in [m8] %}{{ m8(1) }} as x{% endfor %}",
        ADDS.format("m8", 1),
        ADDS.format("m8", 2),
    ),
    "passed": macro(
        "passed",
        "select {{ m9(m9b) }} as x",
        "{% macro m9(f) %}{{ f(1) }}{% endmacro %}" + ADDS.format("m9b", 1),
        "{% macro m9(f) %}{{ f(1) }}{% endmacro %}" + ADDS.format("m9b", 2),
    ),
    "caller": macro(
        "caller",
        "select {% call m10() %}{{ m10b(1) }}{% endcall %} as x",
        "{% macro m10() %}{{ caller() }}{% endmacro %}" + ADDS.format("m10b", 1),
        "{% macro m10() %}{{ caller() }}{% endmacro %}" + ADDS.format("m10b", 2),
    ),
    "dispatched": macro(
        "dispatched",
        "select {{ adapter.dispatch('m11')(1) }} as x",
        ADDS.format("default__m11", 1),
        ADDS.format("default__m11", 1) + ADDS.format("lakehouse__m11", 2),
    ),
    "dispatch_alias": macro(
        "dispatch_alias",
        "{% set find = adapter.dispatch %}select {{ find('m12')(1) }} as x",
        ADDS.format("default__m12", 1),
        ADDS.format("default__m12", 2),
    ),
    "dispatch_default": macro(
        "dispatch_default",
        "select {{ adapter.dispatch(macro_name='m13')(1) }} as x",
        ADDS.format("default__m13", 1),
        ADDS.format("default__m13", 2),
    ),
    "of_dbt": macro(
        "of_dbt",
        "select {{ dbt.length(\"'abc'\") }} as x",
        "",
        "{% macro lakehouse__length(expression) %}length({{ expression }}) + 10{% endmacro %}",
        step=2,
    ),
    "strategy": Case(
        before={"models/strategy.sql": sql(PARENT, materialized="incremental", unique_key="id")},
        after={"macros/strategy.sql": KEPT},
        step=3,
    ),
    "incremental_asked": Case(
        before={
            "models/incremental_asked.sql": sql(
                "select {% if not is_incremental() %}1{% else %}2{% endif %} as id, 1 as v",
                materialized="incremental",
                incremental_strategy="append",
            )
        },
        after={"macros/asked.sql": "{% macro is_incremental() %}{{ return(false) }}{% endmacro %}"},
        step=4,
    ),
    "variable": Case(before={"models/variable.sql": sql("select {{ var('one') }} as x")}),
    "variable_inside": macro(
        "variable_inside",
        "select {{ m14() }} as x",
        "{% macro m14() %}{{ var('one') + 1 }}{% endmacro %}",
        "{% macro m14() %}{{ var('one') + 1 }}{% endmacro %}",
    ),
    "variable_alias": Case(before={"models/variable_alias.sql": sql("{% set v = var %}select {{ v('one') }} as x")}),
    "environment": Case(before={"models/environment.sql": sql("select {{ env_var('SHOP_FACTOR') }} as x")}),
    "environment_alias": Case(
        before={"models/environment_alias.sql": sql("{% set e = env_var %}select {{ e('SHOP_FACTOR') }} as x")}
    ),
    "environment_computed": Case(
        before={"models/environment_computed.sql": sql("select {{ env_var('SHOP' ~ '_FACTOR') }} as x")}
    ),
    "environment_inside": macro(
        "environment_inside",
        "select {{ m15('SHOP_FACTOR') }} as x",
        "{% macro m15(name) %}{{ env_var(name) }}{% endmacro %}",
        "{% macro m15(name) %}{{ env_var(name) }}{% endmacro %}",
    ),
    "environment_key": Case(before={"models/environment_key.sql": sql("select {{ env_var(var='SHOP_FACTOR') }} as x")}),
    "meta": Case(
        before={"models/meta.sql": sql("select {{ config.get('meta')['k'] }} as x")},
        properties=({"config": {"meta": {"k": 1}}}, {"config": {"meta": {"k": 2}}}),
    ),
    "described": Case(
        before={"models/described.sql": sql("select '{{ model.description }}' as x")},
        properties=({"description": "one"}, {"description": "two"}),
    ),
    "tagged": Case(
        before={"models/tagged.sql": sql("select {{ model.tags | length }} as x")},
        properties=({"config": {"tags": ["a"]}}, {"config": {"tags": ["a", "b"]}}),
    ),
    "columned": Case(
        before={"models/columned.sql": sql("select '{{ model.columns.x.description }}' as x")},
        properties=(
            {"columns": [{"name": "x", "description": "one"}]},
            {"columns": [{"name": "x", "description": "two"}]},
        ),
    ),
    "counted": Case(
        before={"models/counted.sql": sql("select {{ graph.nodes | length }} as x")},
        after={"models/one_more.sql": sql("select 1 as x")},
    ),
    "selected": Case(
        before={"models/selected.sql": sql("select {{ selected_resources | length }} as x")},
        after={"models/two_more.sql": sql("select 1 as x")},
    ),
    "queried": Case(
        before={
            "seeds/asked.csv": "v\n1\n",
            "models/queried.sql": sql(
                "-- depends_on: {{ ref('asked') }}\n"
                "select {{ run_query('select max(v) from ' ~ ref('asked')).rows[0][0] if execute }} as x"
            ),
        },
        after={"seeds/asked.csv": "v\n2\n"},
    ),
    "called": Case(
        before={
            "models/called.sql": sql(
                "-- depends_on: {{ ref('asked') }}\n"
                "{% call statement('st', fetch_result=True) %}select max(v) from {{ ref('asked') }}{% endcall %}"
                "select {{ load_result('st')['data'][0][0] }} as x"
            )
        },
    ),
    "columns_asked": Case(
        before={
            "models/columns_parent.sql": sql("select 1 as x"),
            "models/columns_asked.sql": sql(
                "-- depends_on: {{ ref('columns_parent') }}\n"
                "select '{{ adapter.get_columns_in_relation(ref('columns_parent')) | map(attribute='name') | join }}' as x"
            ),
        },
        after={"models/columns_parent.sql": sql("select 1 as x, 2 as y")},
    ),
    "ephemeral": Case(
        before={
            "models/hidden.sql": sql("select {{ m16(1) }} as x", materialized="ephemeral"),
            "models/ephemeral.sql": sql("select * from {{ ref('hidden') }}"),
            "macros/hidden.sql": ADDS.format("m16", 1),
        },
        after={"macros/hidden.sql": ADDS.format("m16", 2)},
    ),
    "versions": Case(
        before={
            "models/vm_v1.sql": sql("select 1 as x"),
            "models/vm_v2.sql": sql("select 2 as x"),
            "models/versions.sql": sql(
                "select (select max(x) from {{ ref('vm') }}) * 100 + (select max(x) from {{ ref('vm', v=1) }}) * 10 "
                "+ (select max(x) from {{ ref('vm', v=2) }}) as x"
            ),
        },
    ),
    "view_of_types": Case(
        before={"models/view_of_types.sql": sql("select 7 / 2 as x", materialized="view")},
        step=5,
    ),
    "setting": Case(before={"models/setting.sql": sql("select 7 / 2 as x")}, step=5),
    "described_parent": Case(
        before={
            "models/parent1.sql": sql("select 1 as x"),
            "models/described_parent.sql": sql("select max(column_name) as x from (describe {{ ref('parent1') }})"),
        },
        after={"models/parent1.sql": sql("select 1 as y")},
    ),
    "pivoted": Case(
        before={
            "models/parent2.sql": sql("select 1 as id, 1 as v"),
            "models/pivoted.sql": sql("pivot {{ ref('parent2') }} on id using sum(v)"),
        },
        after={"models/parent2.sql": sql("select 2 as id, 1 as v")},
    ),
    "order_of_rows": Case(
        before={
            "models/parent3.sql": sql("select * from (values (1, 9), (2, 5)) as t(id, v)", sort_by=["id"]),
            "models/order_of_rows.sql": sql("select id from {{ ref('parent3') }} limit 1"),
        },
        after={"models/parent3.sql": sql("select * from (values (1, 9), (2, 5)) as t(id, v)", sort_by=["v"])},
    ),
    "order_of_seed": Case(
        before={
            "seeds/listed.csv": "v\n1\n2\n",
            "models/order_of_seed.sql": sql("select v from {{ ref('listed') }} limit 1"),
        },
        after={"seeds/listed.csv": "v\n2\n1\n"},
    ),
    "types_of_seed": Case(
        before={
            "seeds/typed.csv": "v\n1\n",
            "models/types_of_seed.sql": sql("select typeof(v) as x from {{ ref('typed') }}"),
        },
    ),
    "session_macro": Case(before={"models/session_macro.sql": sql("select outer_of(1) as x")}),
    "session_macro_in_view": Case(
        before={
            "models/macro_view.sql": sql("select inner_of(1) as x", materialized="view"),
            "models/session_macro_in_view.sql": sql("select x from {{ ref('macro_view') }}"),
        },
    ),
    "session_macro_of_rows": Case(before={"models/session_macro_of_rows.sql": sql("select * from rows_of()")}),
    "source_rows": Case(
        before={"models/source_rows.sql": sql("select max(v) as x from {{ source('src', 'events') }}")}
    ),
    "other_ref": Case(before={"models/other_ref.sql": sql('select max(v) as x from "lake@main".src.events')}),
    "header": Case(
        before={
            "models/header.sql": sql("select headed(1) as x", sql_header="create or replace macro headed(x) as x + 1;")
        },
        after={
            "models/header.sql": sql("select headed(1) as x", sql_header="create or replace macro headed(x) as x + 2;")
        },
    ),
    "hook_after": Case(
        before={"models/hook_after.sql": sql("select 1 as x", post_hook="insert into {{ this }} values (2)")},
        after={"models/hook_after.sql": sql("select 1 as x", post_hook="insert into {{ this }} values (3)")},
    ),
    "hook_before": Case(
        before={
            "models/hook_before.sql": sql("select max(v) as x from {{ target.schema }}.hooked", pre_hook="{{ m17() }}"),
            "macros/hook_before.sql": "{% macro m17() %}create or replace table {{ target.schema }}.hooked as select 1 as v"
            "{% endmacro %}",
        },
        after={
            "macros/hook_before.sql": "{% macro m17() %}create or replace table {{ target.schema }}.hooked as select 2 as v"
            "{% endmacro %}"
        },
    ),
    "comment": Case(
        before={"models/comment.sql": sql("select 1 as x", persist_docs={"relation": True, "columns": True})},
        properties=(
            {"description": "one", "columns": [{"name": "x", "description": "one"}]},
            {"description": "two", "columns": [{"name": "x", "description": "two"}]},
        ),
    ),
    "doc_block": Case(
        before={
            "models/doc_block.sql": sql("select 1 as x", persist_docs={"relation": True}),
            "models/doc.md": "{% docs block %}one{% enddocs %}",
        },
        after={"models/doc.md": "{% docs block %}two{% enddocs %}"},
        properties=({"description": "{{ doc('block') }}"}, {"description": "{{ doc('block') }}"}),
    ),
    "comment_of_view": Case(
        before={
            "models/comment_of_view.sql": sql("select 1 as x", materialized="view", persist_docs={"relation": True})
        },
        properties=({"description": "one"}, {"description": "two"}),
    ),
    "snapshot": Case(
        before={
            "seeds/watched.csv": "id,v,seen\n1,1,2024-01-01\n2,1,2024-01-01\n",
            "snapshots/snapshot.sql": "{% snapshot snapshot %}"
            "{{ config(unique_key='id', strategy='timestamp', updated_at='seen') }}"
            "select * from {{ ref('watched') }}{% endsnapshot %}",
        },
        after={"seeds/watched.csv": "id,v,seen\n1,1,2024-01-01\n2,2,2024-01-02\n"},
    ),
    "all_columns": Case(
        before={
            "seeds/widened.csv": "id,v\n1,1\n",
            "snapshots/all_columns.sql": "{% snapshot all_columns %}"
            "{{ config(unique_key='id', strategy='check', check_cols='all') }}"
            "select * from {{ ref('widened') }}{% endsnapshot %}",
        },
        after={"seeds/widened.csv": "id,v,w\n1,1,1\n"},
    ),
    "module": python("module", "from p1 import X", {"p1.py": "X = 1"}, {"p1.py": "X = 2"}),
    "module_inside": python(
        "module_inside", "from p2 import X", {"p2.py": "from p3 import *", "p3.py": "X = 1"}, {"p3.py": "X = 2"}
    ),
    "module_of_folder": python("module_of_folder", "from pk.p4 import X", {"pk/p4.py": "X = 1"}, {"pk/p4.py": "X = 2"}),
    "module_of_package": python(
        "module_of_package",
        "from pl import X",
        {"pl/__init__.py": "from .p5 import X", "pl/p5.py": "X = 1"},
        {"pl/p5.py": "X = 2"},
    ),
    "module_late": python(
        "module_late",
        "import importlib\nX = importlib.import_module('p6').X",
        {"p6.py": "X = 1"},
        {"p6.py": "X = 2"},
    ),
    "module_elsewhere": python(
        "module_elsewhere",
        "sys.path[:0] = ['elsewhere']\nfrom p7 import X",
        {"elsewhere/p7.py": "X = 1"},
        {"elsewhere/p7.py": "X = 2"},
    ),
    "module_reads": python(
        "module_reads",
        "from p8 import X",
        {"p8.py": "X = open('p8.txt').read()", "p8.txt": "1"},
        {"p8.txt": "2"},
    ),
    "configured": Case(
        before={
            "models/configured.py": "def model(dbt, session):\n    dbt.config(materialized='table')\n"
            "    weight = dbt.config.get('weight')\n    return session.sql('select ' + str(weight) + ' as x')\n"
        },
        properties=({"config": {"weight": 1}}, {"config": {"weight": 2}}),
    ),
}
STEPS = max(case.step for case in CASES.values())
_NAMES = list(CASES)
_AT = [0, _NAMES.index("of_dbt"), _NAMES.index("counted"), _NAMES.index("view_of_types"), len(CASES)]
GROUPS = [{name: CASES[name] for name in _NAMES[start:end]} for start, end in pairwise(_AT)]
"""Several projects: what makes all of one be compiled anew would hide what is overlooked in it."""
OWN_MATERIALIZATION = {
    "materialization": Case(
        before={
            "models/materialization.sql": sql("select 1 as x", materialized="mine"),
            "macros/mine.sql": "{% materialization mine, adapter='lakehouse' %}"
            "{% call statement('main') %}create or replace table {{ this }} as select x + 1 as x from ({{ sql }}){% endcall %}"
            "{{ return({'relations': [this]}) }}{% endmaterialization %}",
        },
        after={
            "macros/mine.sql": "{% materialization mine, adapter='lakehouse' %}"
            "{% call statement('main') %}create or replace table {{ this }} as select x + 2 as x from ({{ sql }}){% endcall %}"
            "{{ return({'relations': [this]}) }}{% endmaterialization %}",
        },
    ),
}


def project(step: int, cases: Mapping[str, Case] = CASES) -> Files:
    """The files of all cases after a step (0: before all)."""
    number = 2 if step else 1
    models: list[dict[str, Any]] = []
    if "versions" in cases:
        models.append({"name": "vm", "latest_version": number, "versions": [{"v": 1}, {"v": 2}]})
    found: Files = {}
    for name, case in cases.items():
        found.update(case.before)
        if step >= case.step:
            found.update(case.after)
        if case.properties is not None:
            models.append({"name": name, **case.properties[step >= case.step]})
    definitions = (
        f"create or replace macro inner_of(x) as x + {number}; create or replace macro outer_of(x) as inner_of(x)"
    )
    found["macros/define.sql"] = (
        f"{{% macro define() %}}{definitions}; create or replace macro rows_of() as table select {number} as x{{% endmacro %}}"
    )
    found["models/properties.yml"] = json.dumps(
        {"models": models, "sources": [{"name": "src", "schema": "src", "tables": [{"name": "events"}]}]}
    )
    found["dbt_project.yml"] = json.dumps(
        {
            "name": "shop",
            "version": "1.0",
            "profile": "shop",
            "flags": {"send_anonymous_usage_stats": False},
            "vars": {"one": number},
            "on-run-start": ["{{ define() }}"],
            "seeds": {"shop": {"typed": {"+column_types": {"v": "integer" if step else "double"}}}},
        }
    )
    return found


@pytest.mark.parametrize("cases", GROUPS, ids=lambda cases: next(iter(cases)))
def test_nothing_that_shapes_a_table_is_overlooked(cases: dict[str, Case]) -> None:
    with two_lakes() as lakes, lakes.new():

        def build(step: int) -> dict[str, Any]:
            lakes.write(project(step, cases), {"integer_division": True} if step == STEPS else {})
            said = lakes.dbt("dev", ("build",), {"SHOP_FACTOR": "2" if step else "1"})
            assert said[""] == "True NoneType", said
            return lakes.tables("dev")

        for _ in range(3):
            tables = build(0)
        lakes.change("main", "UPDATE src.events SET v = v + 100")
        lakes.change("dev", "UPDATE src.events SET v = v + 200")
        for step in sorted({case.step for case in cases.values()}):
            before, tables = tables, build(step)
            unchanged = [
                name
                for name, case in cases.items()
                if case.step == step and before[f"shop.{name}"] == tables[f"shop.{name}"]
            ]
            assert not unchanged, f"these did not change in either lake: {unchanged}"
        assert lakes.reused() > len(cases)


def test_what_a_projects_own_materialization_does_counts() -> None:
    # Apart from the others, since where there is one every macro of the project counts.
    with two_lakes() as lakes, lakes.new():
        tables = []
        for step in (0, 0, 1, 0):
            lakes.write(project(step, OWN_MATERIALIZATION), {})
            lakes.dbt("main", ("build",), {})
            tables.append(lakes.tables("main")["shop.materialization"])
    assert tables[0] == tables[1] == tables[3] != tables[2]
