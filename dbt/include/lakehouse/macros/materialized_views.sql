{#- A materialized view is a table that keeps its query. It is built as a table is: anew if its code or an input changed, and
    else reused. What its configuration says is compared with what stands there; `on_configuration_change` decides, as in dbt. -#}

{% materialization materialized_view, adapter='lakehouse' %}
  {%- set relation = this.incorporate(type=this.MaterializedView) -%}
  {%- set changes = none if should_full_refresh() else get_materialized_view_configuration_changes(relation, config) -%}
  {%- set wanted = config.get('on_configuration_change') -%}
  {%- if changes and wanted == 'fail' -%}
    {%- do exceptions.raise_fail_fast_error(lakehouse_changes_found(relation, wanted, changes)) -%}
  {%- endif -%}
  {%- if pre_hooks -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- endif -%}
  {%- if changes and wanted == 'continue' -%}
    {%- do exceptions.warn(lakehouse_changes_found(relation, wanted, changes)) -%}
    {{ materialized_view_execute_no_op(relation) }}
  {%- else -%}
    {%- set code = lakehouse_contracted(sql) -%}
    {%- do lakehouse_built(relation, code, adapter.build_materialized_view(
          model, relation, code, should_full_refresh(), config.get('sql_header'))) -%}
  {%- endif -%}
  {%- if post_hooks -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{% macro lakehouse_changes_found(relation, wanted, changes) %}
  {%- set names = (changes.get('alter', []) + changes.get('replace', [])) | map(attribute='context') | join(', ') -%}
  {{ return("Configuration changes were identified and `on_configuration_change` was set to `" ~ wanted ~ "` for `"
      ~ relation.render() ~ "`: " ~ names) }}
{% endmacro %}

{% macro lakehouse__get_materialized_view_configuration_changes(existing_relation, new_config) %}
  {{ return(adapter.materialized_view_changes(model, existing_relation)) }}
{% endmacro %}

{#- The statements behind dbt's own macros, for projects that call these. -#}

{% macro lakehouse__get_create_materialized_view_as_sql(relation, sql) %}
  create materialized view {{ relation }} as {{ sql }}
{% endmacro %}

{% macro lakehouse__get_replace_materialized_view_sql(relation, sql) %}
  create or replace materialized view {{ relation }} as {{ sql }}
{% endmacro %}

{% macro lakehouse__get_alter_materialized_view_as_sql(
    relation, configuration_changes, sql, existing_relation, backup_relation, intermediate_relation) %}
  {{ exceptions.raise_compiler_error(
       "no statement alters a materialized view of a lake; its model does, with on_configuration_change: apply") }}
{% endmacro %}

{% macro lakehouse__refresh_materialized_view(relation) %}
  refresh materialized view {{ relation }}
{% endmacro %}

{% macro lakehouse__drop_materialized_view(relation) %}
  drop materialized view if exists {{ relation }} cascade
{% endmacro %}

{% macro lakehouse__get_rename_materialized_view_sql(relation, new_name) %}
  alter materialized view {{ relation }} rename to {{ adapter.quote(new_name) }}
{% endmacro %}
