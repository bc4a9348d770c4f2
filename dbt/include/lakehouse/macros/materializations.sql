{#- Each materialization is one call of the adapter between the hooks. What rows there are, and how they become a table,
    is decided in Python; here dbt's own macros render what only Jinja can. -#}

{% macro lakehouse_contracted(sql) %}
  {%- set contract = config.get('contract') -%}
  {%- if contract and contract.enforced -%}
    {{ get_assert_columns_equivalent(sql) }}
    {{ return(get_select_subquery(sql)) }}
  {%- endif -%}
  {{ return(sql) }}
{% endmacro %}

{% macro lakehouse_built(relation, code, response) %}
  {{ write(code) }}
  {%- do store_result('main', response=response, agate_table=adapter.no_rows()) -%}
  {#- Each of dbt's macros takes a fifth of a millisecond to find out that there is nothing to do. -#}
  {%- if config.get('grants') -%}
    {%- do apply_grants(relation, config.get('grants'), should_revoke=False) -%}
  {%- endif -%}
  {%- if config.get('persist_docs') -%}
    {%- do persist_docs(relation, model) -%}
  {%- endif -%}
{% endmacro %}

{% materialization table, adapter='lakehouse', supported_languages=['sql', 'python'] %}
  {%- set relation = this.incorporate(type='table') -%}
  {%- if pre_hooks -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- endif -%}
  {%- set code = compiled_code if model['language'] == 'python' else lakehouse_contracted(sql) -%}
  {%- do lakehouse_built(relation, code, adapter.build_table(model, relation, code, config.get('sql_header'))) -%}
  {%- if post_hooks -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{% materialization view, adapter='lakehouse' %}
  {%- set relation = this.incorporate(type='view') -%}
  {%- if pre_hooks -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- endif -%}
  {%- set code = lakehouse_contracted(sql) -%}
  {%- do lakehouse_built(relation, code, adapter.build_view(model, relation, code, config.get('sql_header'))) -%}
  {%- if post_hooks -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{% materialization incremental, adapter='lakehouse', supported_languages=['sql', 'python'] %}
  {%- set relation = this.incorporate(type='table') -%}
  {%- do incremental_validate_on_schema_change(config.get('on_schema_change'), default='ignore') -%}
  {%- set strategy = config.get('incremental_strategy') or 'delete+insert' -%}
  {%- set strategy_sql = adapter.get_incremental_strategy_macro(context, strategy) -%}
  {%- if pre_hooks -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- endif -%}
  {%- set code = compiled_code if model['language'] == 'python' else lakehouse_contracted(sql) -%}
  {%- do lakehouse_built(relation, code, adapter.build_incremental(
        model, relation, code, should_full_refresh(), strategy, strategy_sql, config.get('sql_header'))) -%}
  {%- if post_hooks -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{% materialization seed, adapter='lakehouse' %}
  {%- set relation = this.incorporate(type='table') -%}
  {%- set old_relation = load_cached_relation(this) -%}
  {%- if old_relation is not none and (old_relation.is_view or old_relation.is_materialized_view) -%}
    {{ exceptions.raise_compiler_error("Cannot seed to '{}', it is a view".format(old_relation.render())) }}
  {%- endif -%}
  {%- do adapter.check_seed(model) -%}
  {%- set agate_table = load_agate_table() -%}
  {%- do store_result('agate_table', response='OK', agate_table=agate_table) -%}
  {%- if pre_hooks -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- endif -%}
  {%- do lakehouse_built(relation, '', adapter.build_seed(model, relation, agate_table, should_full_refresh())) -%}
  {%- if post_hooks -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{#- What decides which rows of a snapshot change: its query first. -#}
{% macro lakehouse_deciding(sql, strategy) %}
  {%- set keys = strategy.unique_key if strategy.unique_key is not string else [strategy.unique_key] -%}
  {{ return([sql, strategy.row_changed] + (keys | list) + ([config.get('dbt_valid_to_current')] | select | list)) }}
{% endmacro %}

{% materialization snapshot, adapter='lakehouse' %}
  {%- set exists, relation = get_or_create_relation(
        database=model.database, schema=model.schema, identifier=model.get('alias', model.get('name')), type='table') -%}
  {%- if not relation.is_table -%}
    {% do exceptions.relation_wrong_type(relation, 'table') %}
  {%- endif -%}
  {%- if pre_hooks -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- endif -%}
  {%- set strategy_macro = strategy_dispatch(config.get('strategy')) -%}
  {%- set strategy = strategy_macro(model, "snapshotted_data", "source_data", model['config'], exists) -%}
  {%- if exists -%}
    {%- set columns = config.get("snapshot_table_column_names") or get_snapshot_table_column_names() -%}
    {{ adapter.assert_valid_snapshot_target_given_strategy(relation, columns, strategy) }}
    {%- set code = snapshot_staging_table(strategy, sql, relation) -%}
    {{ check_time_data_types(code) }}
    {%- set response = adapter.build_snapshot(
          model, relation, code, columns.dbt_scd_id, snapshot_merge_sql, config.get('sql_header'),
          lakehouse_deciding(sql, strategy)) -%}
  {%- else -%}
    {%- set code = build_snapshot_table(strategy, model['compiled_code']) -%}
    {{ check_time_data_types(code) }}
    {%- set response = adapter.build_table(model, relation, code, config.get('sql_header')) -%}
  {%- endif -%}
  {%- do lakehouse_built(relation, code, response) -%}
  {%- if post_hooks -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{#- As dbt's own, but stored failures are a table or view like any other: reused where nothing changed. -#}
{% materialization test, adapter='lakehouse' %}
  {%- set relations = [] -%}
  {%- set sql_header = config.get('sql_header') if flags.REQUIRE_SQL_HEADER_IN_TEST_CONFIGS else none -%}
  {%- set tested = get_limit_subquery_sql(sql, config.get('limit')) -%}
  {%- if should_store_failures() -%}
    {%- set kind = config.get('store_failures_as') or 'table' -%}
    {%- if kind not in ['table', 'view'] -%}
      {{ exceptions.raise_compiler_error(
           "'" ~ kind ~ "' is not a valid value for `store_failures_as`. Accepted values are: ['ephemeral', 'table', 'view']") }}
    {%- endif -%}
    {%- set relation = api.Relation.create(
          identifier=model['alias'], schema=schema, database=database, type=kind) -%}
    {%- if kind == 'table' -%}
      {%- do adapter.build_table(model, relation, tested, sql_header) -%}
    {%- else -%}
      {%- do adapter.build_view(model, relation, tested, sql_header) -%}
    {%- endif -%}
    {%- do relations.append(relation) -%}
    {%- set tested = 'select * from ' ~ relation -%}
  {%- endif -%}
  {%- call statement('main', fetch_result=True) -%}
    {%- if sql_header %}{{ sql_header }}{% endif -%}
    {{ get_test_sql(
         tested, config.get('fail_calc'), config.get('warn_if'), config.get('error_if'), limit=none) }}
  {%- endcall -%}
  {{ return({'relations': relations}) }}
{% endmaterialization %}

{#- As dbt's own, but the types come from binding the query instead of from an empty temporary table. -#}
{% materialization unit, adapter='lakehouse' %}
  {%- set expected_rows = config.get('expected_rows') -%}
  {%- set expected_sql = config.get('expected_sql') -%}
  {%- set types = {} -%}
  {%- set quoted = {} -%}
  {%- for column in adapter.get_column_schema_from_query(sql) -%}
    {%- do types.update({column.name | lower: column.data_type}) -%}
    {%- do quoted.update({column.name | lower: column.quoted}) -%}
  {%- endfor -%}
  {%- set tested = expected_rows[0].keys() if (expected_rows | length) > 0 else quoted.keys() -%}
  {%- set names = [] -%}
  {%- for name in tested -%}
    {%- do names.append(quoted[name | lower]) -%}
  {%- endfor -%}
  {%- if not expected_sql -%}
    {%- set expected_sql = get_expected_sql(expected_rows, types, quoted) -%}
  {%- endif -%}
  {%- call statement('main', fetch_result=True) -%}
    {{ get_unit_test_sql(sql, expected_sql, names) }}
  {%- endcall -%}
  {{ return({'relations': []}) }}
{% endmaterialization %}

{#- dbt-duckdb has this one. -#}
{% materialization table_function, adapter='lakehouse' %}
  {{ exceptions.raise_compiler_error(
       "materialized='table_function' makes a macro in a DuckDB database, and the lake keeps none; use 'view', or where it has "
      ~ "parameters, a macro of the project") }}
{% endmaterialization %}
