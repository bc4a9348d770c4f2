"""Odd code, names, values and files: each works and reads back as it is, or is one clear error at its place in the file."""

from __future__ import annotations

import json
from typing import Any

from dbt_shop import Shop
from pyiceberg.table import StaticTable

TABLE = "{{ config(materialized='table') }}\n"
GROWING = "{{ config(materialized='incremental', unique_key='id', incremental_strategy='%s') }}\n"
ODD = {
    "🦆": 1,
    "a.b": 2,
    'q"uote': 3,
    "é": 4,
    "É": 5,
    "new\nline": 6,
    "%20": 7,
    "a=b,c": 8,
    "it's": 9,
    " a ": 10,
    "MiXed": 11,
    "*": 12,
    "ü" * 200: 13,
}
KEPT_BY_OTHERS = ("rowid", "filename", "file_row_number", "_pos", "_file", "_row_id", "file_index", "count", "place")
KEYWORDS = ("order", "table", "select", "values", "pivot", "main", "temp", "lake", "null", "from")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def good_models() -> dict[str, str]:
    models = {word: f'{TABLE}select 1 as {quoted(word)}, 2 as "Group"' for word in KEYWORDS}
    models |= {f"of_{word}": f"select * from {{{{ ref('{word}') }}}}" for word in KEYWORDS}
    odd = ", ".join(f"{value} as {quoted(name)}" for name, value in ODD.items())
    models["odd"] = f"{TABLE}select {odd}"
    models["odd_view"] = "select * from {{ ref('odd') }}"
    models["odd_merged"] = GROWING.replace("'id'", "'\"a.b\"'") % "merge" + "select * from {{ ref('odd') }}"
    theirs = ", ".join(f"{{{{ 2 if is_incremental() else 1 }}}} as {name}" for name in KEPT_BY_OTHERS)
    for strategy in ("merge", "delete+insert"):
        name = f"theirs_{strategy.partition('+')[0]}"
        models[name] = GROWING % strategy + f"select 1 as id, {theirs} union all select 2{', 3' * len(KEPT_BY_OTHERS)}"
    models["wide"] = TABLE + f"select {', '.join(f'{i} as c{i}' for i in range(1600))}"
    models["wide_grown"] = (
        GROWING % "merge" + f"select 1 as id, {', '.join(f'c{i}' for i in range(1599))} from {{{{ ref('wide') }}}}"
    )
    models["nothing_known"] = TABLE + "select null as n, null::integer as i, [] as l, {'a': null} as s, map {} as m"
    models["no_rows"] = TABLE + "select * from {{ ref('odd') }} where false"
    models["recursive"] = TABLE + "with recursive t(n) as (select 1 union all select n + 1 from t where n < 5) from t"
    models["ends"] = TABLE + "select 1 as a;;  ; -- the end; really"
    models["numbers"] = TABLE + "select 'nan'::double a, 'inf'::double b, 1/0 c, 1//0 d, 1.5::decimal(38, 37) e"
    models["times"] = TABLE + "select '0044-03-15 (BC)'::date a, '290000-01-01'::timestamp b, '5000000-01-01'::date c"
    models["deep"] = TABLE + f"select {'{a: ' * 10}1{'}' * 10} d, {'[' * 10}1{']' * 10} l"
    models["bytes"] = TABLE + r"select '\x00\xFF'::blob b, 'a' || chr(0) || 'b' s, repeat('x', 5000000) long"
    models["long_name"] = "{{ config(materialized='table', alias='" + "ü" * 200 + "') }} select 1 as a"
    return models


def values_of(shop: Shop, name: str) -> dict[str, Any]:
    """The one row of a relation, as DuckDB reads it on the branch main."""
    with shop.lake() as lake:
        session = lake.read("main", "shop")
        found = session.execute(f"select * from shop.{quoted(name)} limit 1")
        session.close()
        return dict(zip((c.name for c in found.columns), next(iter(found.rows), ()), strict=False))


def test_what_is_odd_works_and_reads_back_the_same(shop: Shop) -> None:
    shop.write({f"models/{name}.sql": text for name, text in good_models().items()})
    shop.write(
        {
            "models/nothing.sql": "",
            "seeds/empty.csv": "a,select\n",
            "seeds/bom.csv": "\ufeffa,b\n1,2\n",
            "seeds/texts.csv": 'a,b\r\n1,"x\r\ny"\r\n2,"q""q"\r\n3,"a,b"\r\n4,\r\n',
            "seeds/many.csv": "id,name\n" + "".join(f"{i},n{i}\n" for i in range(100_000)),
            "snapshots/kept.sql": "{% snapshot kept %}{{ config(unique_key='id', strategy='check', check_cols='all') }}"
            'select 1 as id, 2 as "order", 3 as "a.b", 4 as filename, 5 as rowid, 6 as "MiX"{% endsnapshot %}',
        }
    )
    for _ in range(2):
        shop.dbt("build", LAKEHOUSE_PREFLIGHT="off")
    for word in KEYWORDS:
        assert values_of(shop, word) == values_of(shop, f"of_{word}") == {word: 1, "Group": 2}
    assert values_of(shop, "odd") == values_of(shop, "odd_view") == values_of(shop, "odd_merged") == ODD
    for name in ("theirs_merge", "theirs_delete"):
        found = shop.rows(f"select * from shop.{name}")
        assert found == [(1, *[2] * len(KEPT_BY_OTHERS)), (2, *[3] * len(KEPT_BY_OTHERS))]
    assert len(values_of(shop, "wide")) == len(values_of(shop, "wide_grown")) == 1600
    assert values_of(shop, "nothing_known") == {"n": None, "i": None, "l": [], "s": {"a": None}, "m": {}}
    assert shop.rows("select count(*) from shop.recursive") == [(5,)]
    assert values_of(shop, "ends") == {"a": 1}
    assert shop.rows("select isnan(a), isinf(b), isinf(c), d is null from shop.numbers") == [(True,) * 4]
    assert values_of(shop, "times")["a"] == "0044-03-15 (BC)"
    assert values_of(shop, "ü" * 200) == {"a": 1}
    found = values_of(shop, "bytes")
    assert (found["b"], found["s"], len(found["long"])) == (b"\x00\xff", "a\0b", 5_000_000)
    assert shop.rows("select * from shop.texts") == [(1, "x\r\ny"), (2, 'q"q'), (3, "a,b"), (4, None)]
    assert values_of(shop, "bom") == {"a": 1, "b": 2}
    assert shop.rows("select count(*), max(name) from shop.many") == [(100_000, "n99999")]
    assert shop.rows('select count(*), max("a.b") from shop.kept') == [(1, 3)]
    with shop.lake() as lake:
        entries = lake.catalog.entries(lake.catalog.resolve("main").id).values()
        tables = {entry.name: entry for entry in entries if entry.kind == "table"}
    assert tables["empty"].rows == tables["no_rows"].rows == 0
    for name in ("odd", "odd_merged", "theirs_merge", "wide", "deep", "nothing_known", "bytes", "many"):
        table = StaticTable.from_metadata(tables[name].metadata_location).scan().to_arrow()
        assert len(table) == tables[name].rows
        assert table.column_names == [column.name for column in tables[name].columns]


BAD = {
    "models/two.sql": TABLE + "select 1 as a; select 2 as b",
    "models/two_view.sql": "select 1 as a; select 2 as b",
    "models/comment.sql": TABLE + "-- nothing\n/* at all */",
    "models/comment_view.sql": "-- nothing",
    "models/twice.sql": TABLE + "select 1 as a, 2 as a",
    "models/twice_case.sql": TABLE + "select 1 as a, 2 as A",
    "models/twice_view.sql": "select 1 as a, 2 as A",
    "models/kept.sql": TABLE + "select 1 as __lakehouse_file",
    "models/system.sql": "{{ config(materialized='table', schema='information_schema') }} select 1 as a",
    "models/infinite.sql": TABLE + "select 'infinity'::date as d",
    "models/huge.sql": TABLE + "select 170141183460469231731687303715884105727::hugeint as h",
    "models/unnamed.sql": TABLE + "select row(1, 2) as r",
    "models/zero.sql": TABLE + "select * exclude (a) from (select 1 as a)",
    "models/itself.sql": "select * from {{ this }}",
    "models/nul.sql": TABLE + "select 'a\0b' as a",
    "models/jinja.sql": TABLE
    + "{% set a = 1 %}\n{% for i in range(3) %}\n  {# c #}\n{% endfor %}\nselect\n  1 as a,\n  nope as b\nfrom (select 1)",
    "models/typed.sql": TABLE + "select cast(color as integer) as y from (select 'red' as color)",
    "models/by_macro.sql": TABLE + "select 1 as a,\n\n  {{ broken() }} as b",
    "models/inner.sql": "{{ config(materialized='ephemeral') }}\nselect\n  cast('zzz' as date) as d",
    "models/outer.sql": TABLE + "select *\nfrom {{ ref('inner') }}",
    "models/hooked.sql": "{{ config(materialized='table', pre_hook='select cast(7.5e30 as integer)') }}\nselect 1 as a",
    "models/snake.py": "def model(dbt, session):\n    x = 1\n    return session.sql('select nope')\n",
    "models/good.sql": TABLE + "select 'x' as a",
    "models/good.yml": "models: [{name: good, columns: [{name: a, data_tests: [is_number]}]}]",
    "macros/schema.sql": "{% macro generate_schema_name(name, node) %}{{ name or 'shop' }}{% endmacro %}\n"
    "{% macro broken() %}\n  (\n  cast('abc' as\n integer))\n{% endmacro %}",
    "tests/generic/is_number.sql": "{% test is_number(model, column_name) %}\nselect *\nfrom {{ model }}\n"
    "where cast({{ column_name }} as integer) > 1\n{% endtest %}",
    "tests/single.sql": "-- a test\nselect *\nfrom {{ ref('good') }}\nwhere cast(a as integer) > 0",
    "snapshots/wrong.sql": "{% snapshot wrong %}{{ config(unique_key='id', strategy='check', check_cols='all') }}\n"
    "select 1 as id,\n cast('late' as date) as d{% endsnapshot %}",
    "seeds/nothing.csv": "",
    "seeds/alike.csv": "a,A\n1,2\n",
    "seeds/ragged.csv": "a,b\n1,2\n3\n",
    "seeds/typed_seed.csv": "id,d\n1,2020-01-01\n2,later\n",
    "seeds/seeds.yml": "seeds: [{name: typed_seed, config: {column_types: {d: date}}}]",
}
SAID = {
    "two": "model.shop.two has 2 statements, and a model is one SELECT",
    "two_view": "model.shop.two_view has 2 statements",
    "comment": "model.shop.comment has no query: it is empty, or nothing but comments; write a SELECT",
    "comment_view": "model.shop.comment_view has no query",
    "twice": "the query has two columns named 'a'; rename one of them with AS",
    "twice_case": "the query has columns 'a' and 'A', alike but for case; rename one of them with AS",
    "twice_view": "two columns named 'A'; give one of them an alias",
    "kept": "column '__lakehouse_file', a name that the lake keeps for itself",
    "system": "schema 'information_schema' is DuckDB's own",
    "infinite": "column 'd' holds the date 'infinity', which Iceberg has no value for",
    "huge": "column 'h' of type HUGEINT has a value that does not fit DECIMAL(38,0)",
    "unnamed": "column 'r' has type STRUCT(INTEGER, INTEGER), a struct without field names",
    "zero": "SELECT list is empty",
    "itself": "Table with name itself does not exist",
    "nul": "unterminated quoted string",
    "jinja": "models/jinja.sql, line 8: nope as b ^",
    "typed": "from source column color models/typed.sql, line 2: select cast(color as integer)",
    "by_macro": "Could not convert string 'abc' to INT32 macros/schema.sql, line 4 (macro broken): cast('abc' as",
    "outer": 'invalid date field format: "zzz", expected format is (YYYY-MM-DD) models/inner.sql, line 3: cast(',
    "hooked": "models/hooked.sql, in a pre-hook: select cast(7.5e30 as integer)",
    "snake": 'File "models/snake.py", line 3, in model',
    "is_number_good_a": "tests/generic/is_number.sql, line 4 (macro test_is_number): where cast(a as integer) > 1",
    "single": "tests/single.sql, line 4: where cast(a as integer) > 0",
    "wrong": "snapshots/wrong.sql, line 3: cast('late' as date) as d",
    "nothing": "seeds/nothing.csv is empty; a seed begins with a line that names its columns",
    "alike": "seeds/alike.csv has columns 'a' and 'A', alike but for case",
    "ragged": "seeds/ragged.csv, line 3: Expected Number of Columns: 2 Found: 1 (3); correct the line",
    "typed_seed": 'seeds/typed_seed.csv, line 3: Error when converting column "d". Could not convert string "later" to \'DATE\'',
}


def test_what_is_wrong_is_one_clear_error_at_its_place(shop: Shop) -> None:
    shop.write(BAD)
    outcome = shop.dbt("build", code=1, LAKEHOUSE_PREFLIGHT="off")
    results = json.loads(shop.read("target/run_results.json"))["results"]
    found = {
        result["unique_id"].split(".")[2]: " ".join(result["message"].split())
        for result in results
        if result["status"] == "error"
    }
    assert {name: text for name, text in found.items() if SAID.get(name, "nothing of it") not in text} == {}
    assert set(found) == set(SAID), outcome.output
    assert "Traceback" not in outcome.output
    assert shop.tables() == {}
