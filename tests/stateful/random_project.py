"""dbt projects made of numbers: a project is a value, an edit changes it, and ``files`` writes it down.

Every number means something (it counts modulo what there is), so that any list of edits can be made and cut short. All
relations have the columns id, v and s, so that any of them can stand where another stood.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SEEDS = ("raw0", "raw1")
KINDS = (
    *("table", "table", "view", "table", "ephemeral", "append", "table", "delete+insert", "python", "view", "merge"),
    *("insert_overwrite", "snapshot", "python_merge", "check"),
)

QUERIES = (
    "select id, v, s from @a@",
    "select id, v + @n@ as v, s from @a@",
    "select id, max(a.v + b.v) as v, min(a.s) as s from @a@ as a join @b@ as b using (id) group by id",
    "select id, v, s from @a@ union select id, v, s from @b@",
    "select id, {{ calc('v') }} as v, s from @a@",
    "select id, scaled(v) as v, s from @a@",
    "with q0 as (select * from @a@ where id % 2 = 0) select id, v, s from q0",
    "select id, (select count(*) from @b@) as v, s from @a@",
    "select id, v, concat(s, '@n@') as s from @a@",
    "select id, v / 2 as v, s from @a@",
    "select id, row_number() over (order by s, id, v) as v, s from @a@",
    "select id, v * {{ var('factor') }} as v, s from @a@",
    "select id, v * {{ env_var('SHOP_FACTOR', '1') }} as v, s from @a@",
    "select id, v, '{{ target.name }}' as s from @a@",
    "select id, {{ dispatched('v') }} as v, s from @a@",
    "select id, {{ context['ca' ~ 'lc']('v') }} as v, s from @a@",
    'select id, v, s from "lake@main".src.events',
    "select id, v, s from {{ source('src', 'events') }}",
    "select id, v, s from {{ ref('vm') }}",
    "select id, v, s from {{ ref('vm', v=1) }}",
    "select id, {{ dbt.length('s') }} as v, s from @a@",
    "select 1 as id, count(*) as v, max(column_name) as s from (describe @a@)",
    "select 1 as id, count(*) as v, 'p' as s from (pivot @a@ on id using max(v))",
    "select id, v, s from @a@ order by id, v, s limit 2",
    "select id, v, s from @a@ limit 2",
    "select id, twice_scaled(v) as v, upper(s) as s from @a@",
    "select id, v, '{{ this.identifier }}' as s from @a@",
    "select id, {{ model.tags | length }} + {{ config.get('meta', {}).get('weight', 0) }} as v, s from @a@",
    "select id, v, s -- {{ invocation_id }} {{ run_started_at }}\nfrom @a@",
    "select id, {{ run_started_at.year + modules.datetime.date.today().year }} as v, s from @a@",
    "select id, {{ 1 if flags.FULL_REFRESH else 0 }} as v, s from @a@",
    "select id, {{ 2 if is_incremental() else 1 }} as v, s from @a@",
    "select id, {{ selected_resources | length }} as v, s from @a@",
    "select id, {{ graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | list | length }} as v, s from @a@",
    "select id, v, s from {{ builtins.ref('vm', version=2) }}",
    "{{ whole('@a@') }}",
    "select id, v, '{{ project_name }}{{ dbt_version[:2] }}' as s from @a@",
    "{% set shifted = shifted('v') %}select id, {{ shifted }} as v, s from @a@",
    "{% set env = env_var %}select id, v * {{ env('SHOP_FACTOR', '1') }} as v, s from @a@",
    "{% set find = adapter.dispatch %}select id, {{ find('dispatched')('v') }} as v, s from @a@",
    (
        "select id, v, s from {{ ref('vm') }} union all select id + 2, v, s from {{ ref('vm', v=1) }} "
        "union all select id, v + 1, s from {{ ref('vm', v=2) }}"
    ),
    "{% set found %}{{ calc('v') }}{% endset %}select id, {{ found }} as v, s from @a@",
    "select id, {% call twice() %}{{ inner_calc('v') }}{% endcall %} as v, s from @a@",
    (
        "{% for one in ['calc', 'shifted'] %}select id, {{ context[one]('v') }} as v, s from @a@"
        "{{ ' union all ' if not loop.last }}{% endfor %}"
    ),
)
ASKING = (
    "select id, {{ largest(@ra@) }} as v, s from @a@",
    (
        "{% call statement('st', fetch_result=True) %} select count(*) from @a@ {% endcall %}"
        "select id, {{ load_result('st')['data'][0][0] }} as v, s from @a@"
    ),
    "select id, {{ adapter.get_columns_in_relation(@ra@) | length }} as v, s from @a@",
    "select id, {{ 1 if load_relation(this) is not none else 0 }} as v, s from @a@",
    "select id, {{ 1 if adapter.get_relation(this.database, this.schema, 'n0') is not none else 0 }} as v, s from @a@",
    (
        "{% if execute %}select id, {{ run_query('select max(id) from @a@').rows[0][0] or 0 }} as v, s from @a@"
        "{% else %}select id, v, s from @a@{% endif %}"
    ),
    "select {{ dbt_columns(@ra@) }} from @a@",
)
"""Queries whose text depends on what the lake holds."""

LAYOUTS = ("{}", "-- a remark\n{}", "  {}\n\n", "/* two */ {} -- lines", "{{# jinja #}}{}")
PYTHON = (
    "a.project('id, v + @n@ as v, s')",
    "session.sql('select id, v + ' + str(helper.X) + ' as v, s from a')",
    "a.project('id, v * ' + str(calc.times()) + ' as v, s')",
    "session.sql('select id, scaled(v) as v, s from a')",
    "session.sql('select id, v, ' + repr(str(weight)) + ' as s from a')",
    "a.union(dbt.ref('@pb@').project('id, v, s'))",
    "a.filter('v > ' + str(X)).project('id, v, s')",
    "a.df()[['id', 'v', 's']]",
)
PYTHON_MODEL = """
import sys

sys.path[:0] = ["."]
import helper
from helper import X
from lib import calc


def model(dbt, session):
    a = dbt.ref("@pa@").project("id, v, s")
    weight = dbt.config.get("weight")
    return {rows}
"""
MACROS = """
{{% macro calc(x) %}}{space}{{{{ inner_calc(x) }}}} + {outer}{{% endmacro %}}
{{% macro inner_calc(x) %}}({{{{ x }}}} * {inner}){{% endmacro %}}
{{% macro dispatched(x) %}}{{{{ return(adapter.dispatch('dispatched')(x)) }}}}{{% endmacro %}}
{{% macro shifted(x) %}}({{{{ x }}}} - {shift}){{% endmacro %}}
{{% macro twice() %}}{{{{ caller() }}}} * 2 + {outer}{{% endmacro %}}
{{% macro limit_of_test() %}}{limit}{{% endmacro %}}
{{% test small(model, column_name) %}}
  select * from {{{{ model }}}} where {{{{ column_name }}}} > {{{{ limit_of_test() }}}}
{{% endtest %}}
{{% macro default__dispatched(x) %}}{{{{ x }}}} + 1{{% endmacro %}}
{{% macro whole(relation) %}}select id, v + {whole} as v, s from {{{{ relation }}}}{{% endmacro %}}
{{% macro largest(relation) %}}
  {{%- if execute -%}}
    {{{{ return(run_query('select coalesce(max(v), 0) from ' ~ relation).rows[0][0]) }}}}
  {{%- endif -%}}
  {{{{ return(0) }}}}
{{% endmacro %}}
{{% macro dbt_columns(relation) %}}
  {{%- for column in adapter.get_columns_in_relation(relation) -%}}
    {{{{ column.name }}}}{{{{ ', ' if not loop.last }}}}
  {{%- else -%}} id, v, s {{%- endfor -%}}
{{% endmacro %}}
{{% macro define() %}}
  create or replace macro scaled(x) as x * {scale};
  create or replace macro twice_scaled(x) as scaled(x) + {twice};
{{% endmacro %}}
{more}
"""
MORE_MACROS = (
    "",
    "{% macro lakehouse__dispatched(x) %}{{ x }} + 2{% endmacro %}",
    "{% macro lakehouse__length(expression) %}length({{ expression }}) + 1{% endmacro %}",
    "{% macro is_incremental() %}{{ return(false) }}{% endmacro %}",
    (
        "{% macro lakehouse__get_incremental_delete_insert_sql(arg_dict) %}insert into {{ arg_dict.target_relation }} (id, v, s)"
        " select id, 77, s from {{ arg_dict['temp_relation'] }}{% endmacro %}"
    ),
    "{% macro generate_alias_name(custom_alias_name=none, node=none) %}{{ custom_alias_name or node.name }}z{% endmacro %}",
)
HOOKS: tuple[dict[str, Any], ...] = (
    {},
    {"post_hook": "insert into {{ this }} (id, v, s) values (100, 100, 'hooked')"},
    {"pre_hook": "set integer_division = true"},
    {"post_hook": "update {{ this }} set v = v + 1 where id = 1"},
    {"sql_header": "create or replace macro headed(x) as x + 1;"},
    {"post_hook": "select count(*) from {{ this }}"},
    {"pre_hook": "insert into {{ target.schema }}.raw0 (id, v, s) select 50, max(v) + 1, 'pre' from {{ ref('raw0') }}"},
)
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"integer_division": True},
    {"default_null_order": "nulls_first"},
    {"TimeZone": "Asia/Tokyo"},
)
TYPES = ({}, {"v": "integer"}, {"v": "double", "s": "varchar"}, {"id": "smallint"})
DOCS = ("", "numbers", "more numbers")
SCHEMA_CHANGES = ("ignore", "append_new_columns", "sync_all_columns", "fail")
CHOICES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("partition_by", (None, ["id"], ["truncate(2, v)"])),
    ("sort_by", (None, ["v"], ["s", "id"])),
    ("alias", (None, "{}_x")),
    ("schema", (None, "extra")),
    ("tags", (None, ["t"])),
    ("meta", (None, {"weight": 3}, {"weight": 4})),
    ("weight", (None, 3, 4)),
    ("table_properties", (None, {"owner": "ann"}, {"owner": "bob"})),
    ("on_schema_change", SCHEMA_CHANGES),
    ("persist_docs", (None, {"relation": True, "columns": True}, {"columns": True})),
    ("content_identity", (None, False)),
    ("reuse", (None, None, False, {"per": "day"})),
)
UNIQUE_KEYS = ("id", ["id"], ["id", "s"])


@dataclass
class Node:
    """A model or snapshot. ``config`` holds the number of each choice that was made."""

    name: str
    kind: int = 0
    query: int = 0
    asking: int | None = None
    parents: tuple[int, int] = (0, 0)
    literal: int = 1
    column: int = 0
    wrapped: bool = True
    layout: int = 0
    upper: bool = False
    config: dict[str, int] = field(default_factory=dict)
    contract: int = 0
    key: int = 0
    hook: int = 0
    docs: int = 0
    tests: int = 0
    filtered: bool = True
    broken: bool = False
    enabled: bool = True

    @property
    def how(self) -> str:
        """What kind of node it is."""
        return KINDS[self.kind % len(KINDS)]


@dataclass
class Project:
    """All that is written into a project's folder, and the environment of its builds."""

    nodes: list[Node]
    seeds: dict[str, list[tuple[int, int, str]]]
    types: int = 0
    macro: dict[str, int] = field(default_factory=dict)
    factor: int = 1
    environment: int = 1
    helper: int = 1
    calc: int = 2
    settings: int = 0
    sorted_all: bool = False
    latest: int = 2
    version: int = 0
    fails: bool = False
    dispatch: bool = False
    defines: bool = True
    fresh: int = 0


def begin(numbers: list[tuple[int, int, int]]) -> Project:
    """A project with a node for each of the numbers."""
    seeds = {"raw0": [(1, 1, "a"), (2, 5, "b"), (3, 2, "c")], "raw1": [(1, 10, "x"), (3, 20, "y"), (4, 5, "")]}
    project = Project(nodes=[], seeds=seeds)
    for number in numbers:
        _add(project, *number)
    return project


# edits


def _node(project: Project, number: int) -> Node:
    return project.nodes[number % len(project.nodes)]


def _add(project: Project, x: int, y: int, z: int) -> None:
    name = f"n{project.fresh}"
    project.fresh += 1
    project.nodes.append(Node(name=name, kind=x, query=y, parents=(z, z // 7), wrapped=z % 4 != 0))


def _delete(project: Project, x: int, y: int, z: int) -> None:
    if len(project.nodes) > 3:
        project.nodes.remove(_node(project, x))


def _query(project: Project, x: int, y: int, z: int) -> None:
    node = _node(project, x)
    node.query, node.asking = y, z % len(ASKING) if z % 3 == 0 else None


def _set(name: str, count: int) -> Callable[[Project, int, int, int], None]:
    def edit(project: Project, x: int, y: int, z: int) -> None:
        setattr(_node(project, x), name, y % count)

    return edit


def _switch(name: str) -> Callable[[Project, int, int, int], None]:
    def edit(project: Project, x: int, y: int, z: int) -> None:
        setattr(_node(project, x), name, not getattr(_node(project, x), name))

    return edit


def _parents(project: Project, x: int, y: int, z: int) -> None:
    _node(project, x).parents = (y, z)


def _kind(project: Project, x: int, y: int, z: int) -> None:
    _node(project, x).kind = y


def _config(project: Project, x: int, y: int, z: int) -> None:
    name, values = CHOICES[y % len(CHOICES)]
    _node(project, x).config[name] = z % len(values)


def _macro(project: Project, x: int, y: int, z: int) -> None:
    names = ("inner", "outer", "space", "whole", "scale", "twice", "shift", "limit", "more", "more")
    project.macro[names[x % len(names)]] = y % 6


def _seed(project: Project, x: int, y: int, z: int) -> None:
    rows = project.seeds[SEEDS[x % 2]]
    match y % 4:
        case 0:
            rows.append((z % 7, z % 11, "new"))
        case 1 if len(rows) > 1:
            rows.pop(z % len(rows))
        case 2:
            rows.reverse()
        case _:
            rows[z % len(rows)] = (z % 5, z % 3, "changed")


def _of_project(name: str, count: int) -> Callable[[Project, int, int, int], None]:
    def edit(project: Project, x: int, y: int, z: int) -> None:
        kind = type(getattr(project, name))
        setattr(project, name, kind(x % count))

    return edit


def _mend(project: Project, x: int, y: int, z: int) -> None:
    project.fails, project.defines = False, True
    for node in project.nodes:
        node.broken, node.enabled, node.contract = False, True, 0


EDITS: tuple[Callable[[Project, int, int, int], None], ...] = (
    *(_query, _query, _config, _config, _config, _macro, _macro, _seed, _seed, _parents, _kind, _add, _delete),
    *(_set("literal", 3), _set("literal", 3), _set("column", 4), _set("layout", len(LAYOUTS)), _switch("upper")),
    *(_set("contract", 4), _set("key", len(UNIQUE_KEYS)), _set("hook", len(HOOKS)), _set("docs", len(DOCS))),
    *(_set("tests", 3), _switch("wrapped"), _switch("filtered"), _switch("broken"), _switch("enabled"), _mend, _mend),
    *(_of_project("factor", 3), _of_project("environment", 3), _of_project("helper", 4), _of_project("calc", 4)),
    *(_of_project("settings", len(SETTINGS)), _of_project("sorted_all", 2), _of_project("latest", 3)),
    *(_of_project("dispatch", 2), _of_project("defines", 2), _of_project("version", 3), _of_project("fails", 2)),
    *(_of_project("types", len(TYPES)), _mend),
)


# writing down


def files(project: Project) -> dict[str, str]:
    """The files of a project, by their paths within its folder; ``profiles.yml`` is not one of them."""
    found = {
        "dbt_project.yml": _project_file(project),
        "macros/macros.sql": _macros(project),
        "helper.py": f"# {project.helper % 2}\nX = {project.helper // 2}\n",
        "lib/__init__.py": "",
        "lib/calc.py": f"from lib import inner\n\n\ndef times():\n    return {project.calc // 2} + inner.ONE\n",
        "lib/inner.py": f"ONE = {project.calc % 2}\n",
        "models/vm_v1.sql": "{{ config(materialized='table') }} select 1 as id, 1 as v, 'one' as s",
        "models/vm_v2.sql": f"select 2 as id, {project.version} as v, 'two' as s",
        "tests/single.sql": "select id from {{ ref('raw0') }} where {{ var('fails') }}",
        "models/schema.yml": json.dumps(_schema(project), indent=1),
    }
    for seed, rows in project.seeds.items():
        found[f"seeds/{seed}.csv"] = "id,v,s\n" + "".join(f"{i},{v},{s}\n" for i, v, s in rows)
    for number, node in enumerate(project.nodes):
        found.update(_file(project, node, number))
    return found


def _project_file(project: Project) -> str:
    return json.dumps(
        {
            "name": "shop",
            "version": "1.0",
            "profile": "shop",
            "flags": {"send_anonymous_usage_stats": False},
            "vars": {"factor": project.factor, "fails": project.fails},
            "on-run-start": ["{{ define() }}"] if project.defines else [],
            "dispatch": [{"macro_namespace": "dbt", "search_order": ["dbt"]}] if project.dispatch else [],
            "models": {"shop": {"+sort_by": ["id"]}} if project.sorted_all else {},
            "seeds": {"shop": {"+column_types": TYPES[project.types % len(TYPES)]}},
        },
        indent=1,
    )


def _macros(project: Project) -> str:
    value = {"inner": 2, "outer": 1, "whole": 1, "scale": 2, "twice": 1, "shift": 1, **project.macro}
    value["limit"] = 20 if value.get("limit") == 5 else 10**9
    more = MORE_MACROS[value.pop("more", 0) % len(MORE_MACROS)]
    return MACROS.format(**{**value, "space": " " * value.get("space", 0)}, more=more)


def _schema(project: Project) -> dict[str, Any]:
    models: list[dict[str, Any]] = [
        {"name": "vm", "latest_version": max(1, project.latest), "versions": [{"v": 1}, {"v": 2}]}
    ]
    models += [_described(node) for node in project.nodes if node.how not in ("snapshot", "check")]
    sources = [{"name": "src", "schema": "src", "tables": [{"name": "events"}]}]
    return {"models": models, "sources": sources}


def _described(node: Node) -> dict[str, Any]:
    columns: list[dict[str, Any]] = [
        {"name": "id", "data_type": "bigint", "description": f"{DOCS[node.docs]} of id"},
        {"name": "v", "data_type": "bigint"},
        {"name": "s", "data_type": "varchar"},
    ]
    if node.column:
        columns.append({"name": f"c{node.column}", "data_type": "integer"})
    if node.contract == 2:
        columns[0]["constraints"] = [{"type": "not_null"}]
    if node.contract == 3:
        columns[1]["constraints"] = [{"type": "check", "expression": "v < 1000000"}]
    if node.tests and node.how != "ephemeral":
        columns[0]["data_tests"] = ["not_null", "small"][: node.tests]
    config: dict[str, Any] = {"enabled": node.enabled}
    if node.how.startswith("python"):
        config |= _configuration(node)
    if node.contract and node.wrapped and not node.how.startswith("python"):
        config["contract"] = {"enforced": True}
    return {"name": node.name, "description": DOCS[node.docs], "columns": columns, "config": config}


def _configuration(node: Node) -> dict[str, Any]:
    """What the node's file says of it."""
    how = node.how
    config: dict[str, Any] = {}
    for name, values in CHOICES:
        value = values[node.config.get(name, 0)]
        if value is not None:
            config[name] = value.format(node.name) if isinstance(value, str) else value
    match how:
        case "table" | "view" | "ephemeral":
            config["materialized"] = how
        case "python":
            config["materialized"] = "table"
        case "snapshot":
            config |= {"unique_key": "id", "strategy": "timestamp", "updated_at": "happened"}
        case "check":
            config |= {"unique_key": "id", "strategy": "check", "check_cols": ["v", "s"]}
        case _:
            strategy = how.replace("python_", "")
            config |= {"materialized": "incremental", "incremental_strategy": strategy}
            if strategy in ("merge", "delete+insert"):
                config["unique_key"] = UNIQUE_KEYS[node.key]
            if strategy == "insert_overwrite":
                config["partition_by"] = ["id"]
    if how in ("view", "ephemeral"):
        for name in ("partition_by", "sort_by", "table_properties", "on_schema_change"):
            config.pop(name, None)
    hook = HOOKS[node.hook]
    writes = how not in ("view", "ephemeral") or "post_hook" not in hook
    return {**config, **hook} if writes and how != "ephemeral" else config


def _file(project: Project, node: Node, number: int) -> dict[str, str]:
    how = node.how
    pa, pb = (_parent(project, number, choice, _wants_relation(node)) for choice in node.parents)
    if how.startswith("python"):
        rows = PYTHON[node.query % len(PYTHON)]
        code = PYTHON_MODEL.format(rows=rows)
        if how == "python_merge":
            keyed = """.aggregate("id, max(v)::bigint as v, max(s) as s", "id")"""
            code = code.replace('.project("id, v, s")', keyed)
            code = code.replace(rows, f"({rows}){keyed}" if "union" in rows else rows)
        for mark, text in (("@pa@", pa), ("@pb@", pb), ("@n@", str(node.literal))):
            code = code.replace(mark, text)
        return {f"models/{node.name}.py": code + "# a remark\n" * (node.layout % 2)}
    query = ASKING[node.asking] if node.asking is not None else QUERIES[node.query % len(QUERIES)]
    if "'@a@'" in query:
        query = query.replace("'@a@'", "@ra@")
    marks = {"@a@": f"{{{{ ref('{pa}') }}}}", "@b@": f"{{{{ ref('{pb}') }}}}", "@ra@": f"ref('{pa}')"}
    if "run_query('select max(id) from @a@')" in query:
        query = query.replace("'select max(id) from @a@'", "'select max(id) from ' ~ @ra@")
    for mark, text in (*marks.items(), ("@n@", str(node.literal))):
        query = query.replace(mark, text)
    text = _layout(node, _around(node, query))
    config = "{{ config(" + ", ".join(f"{k}={v!r}" for k, v in _configuration(node).items()) + ") }}\n"
    if how in ("snapshot", "check"):
        return {f"snapshots/{node.name}.sql": f"{{% snapshot {node.name} %}}{config}{text}\n{{% endsnapshot %}}\n"}
    return {f"models/{node.name}.sql": config + text + "\n"}


def _wants_relation(node: Node) -> bool:
    """Whether what it reads must be there before its code is rendered."""
    return node.how.startswith("python") or node.asking is not None


def _parent(project: Project, number: int, choice: int, relation: bool) -> str:
    before = [
        node.name for node in project.nodes[:number] if node.enabled and not (relation and node.how == "ephemeral")
    ]
    # The latest are taken most often, so that projects are deep.
    names = [*SEEDS, *before, *before[-4:]]
    return names[choice % len(names)]


def _around(node: Node, query: str) -> str:
    if node.broken:
        query = f"select id, v, case when v is not null then error('broken') else s end as s from ({query}\n) as broken"
    column = f", {node.column} as c{node.column}" if node.column else ""
    if node.how in ("snapshot", "check"):
        at = "timestamp '2024-01-01' + to_days(abs(max(v)::integer) % 1000) as happened"
        return (
            f"select id, max(v)::bigint as v, max(s) as s, {at} from ({query}\n) as q where id is not null group by id"
        )
    # Rows that were taken from a table of itself grow; a handful is enough.
    if node.how == "append":
        query = f"select (count(*) % 5)::bigint as id, sum(v) % 100 as v, max(s) as s from ({query}\n) as grown"
    # Of two rows with a key, any may be the one that is merged.
    if node.how == "merge":
        query = f"select id, max(v) as v, max(s) as s from ({query}\n) as keyed group by id"
    if node.how not in ("table", "view", "ephemeral") and node.filtered:
        query = (
            f"select * from ({query}\n) as q {{% if is_incremental() %}} where coalesce(q.v, 0) >= "
            "(select coalesce(min(t.v), 0) from {{ this }} as t) {% endif %}"
        )
    if not node.wrapped and not column and node.how in ("table", "view", "ephemeral"):
        return query
    return f"select id::bigint as id, v::bigint as v, s::varchar as s{column} from ({query}\n) as wrapped"


def _layout(node: Node, query: str) -> str:
    text = LAYOUTS[node.layout].replace("{{#", "{#").replace("#}}", "#}").replace("{}", query)
    return text.replace("select ", "SELECT ").replace(" from ", " FROM ") if node.upper else text
