{#- Tables of an attached database as tables of the lake, all in one run:
    `dbt run-operation bring_in --args '{database: before, schema: main}'`. Views are for dbt to make. -#}

{% macro bring_in(database, schema=none, into=none, tables=none) %}
  {%- set schema = schema or target.schema -%}
  {%- set into = into or target.schema -%}
  {%- set rows = run_query(
        "select table_name from information_schema.tables where table_catalog = '" ~ adapter.escape_sql_string(database)
        ~ "' and table_schema = '" ~ adapter.escape_sql_string(schema) ~ "' and table_type = 'BASE TABLE' order by 1") -%}
  {%- set found = rows.columns[0].values() | list -%}
  {%- set wanted = [tables] if tables is string else (tables or found) -%}
  {%- set missing = wanted | reject('in', found) | list -%}
  {%- if missing or not wanted -%}
    {{ exceptions.raise_compiler_error(
        "there is no table " ~ (missing | join(', ') or 'at all') ~ " in " ~ database ~ "." ~ schema
        ~ "; it has: " ~ (found | join(', ') or 'none, or the profile has no `attach` of that alias')) }}
  {%- endif -%}
  {%- for name in wanted -%}
    {%- set from = api.Relation.create(database=database, schema=schema, identifier=name) -%}
    {%- set to = api.Relation.create(database=target.database, schema=into, identifier=name) -%}
    {%- do run_query('create table ' ~ to ~ ' as select * from ' ~ from) -%}
    {{ print(name ~ ' -> ' ~ into ~ '.' ~ name) }}
  {%- endfor -%}
{% endmacro %}
