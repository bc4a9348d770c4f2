{% macro lakehouse__create_schema(relation) -%}
  {%- call statement('create_schema') -%}
    create schema if not exists {{ relation.without_identifier() }}
  {%- endcall -%}
{% endmacro %}

{% macro lakehouse__drop_schema(relation) -%}
  {%- call statement('drop_schema') -%}
    drop schema if exists {{ relation.without_identifier() }} cascade
  {%- endcall -%}
{% endmacro %}

{% macro lakehouse__list_schemas(database) -%}
  {{ return(adapter.list_schemas(database)) }}
{% endmacro %}

{% macro lakehouse__check_schema_exists(information_schema, schema) -%}
  {{ return(adapter.check_schema_exists(information_schema.database, schema)) }}
{% endmacro %}

{% macro lakehouse__get_columns_in_relation(relation) -%}
  {{ return(adapter.get_columns_in_relation(relation)) }}
{% endmacro %}

{#- Nothing is copied: the clone is another name for the same state. -#}
{% macro lakehouse__can_clone_table() %}
  {{ return(True) }}
{% endmacro %}

{% macro lakehouse__create_or_replace_clone(this_relation, defer_relation) %}
  create or replace table {{ this_relation }} clone {{ defer_relation }}
{% endmacro %}

{#- A table has its comments from the start; dbt warns of columns that are documented and are not there. -#}
{% macro lakehouse__persist_docs(relation, model, for_relation, for_columns) -%}
  {%- if for_columns and config.persist_column_docs() and model.columns -%}
    {%- do validate_doc_columns(
          relation, model.columns, adapter.documented_names(relation)) -%}
  {%- endif -%}
  {%- do adapter.document(model, relation) -%}
{%- endmacro %}

{#- A batch replaces what the table holds of its time. -#}
{% macro lakehouse__get_incremental_microbatch_sql(arg_dict) %}
  {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
  {%- set batch = adapter.batch_condition(model) -%}
  delete from {{ arg_dict['target_relation'] }} where {{ batch }}
  {%- for predicate in normalize_incremental_predicates(arg_dict['incremental_predicates']) %} and ({{ predicate }}){% endfor %};
  insert into {{ arg_dict['target_relation'] }} ({{ columns }})
  select {{ columns }} from {{ arg_dict['temp_relation'] }} where {{ batch }};
{% endmacro %}

{% macro lakehouse__get_incremental_default_sql(arg_dict) %}
  {{ return(get_incremental_delete_insert_sql(arg_dict)) }}
{% endmacro %}

{% macro lakehouse__get_incremental_insert_overwrite_sql(arg_dict) %}
  {{ return('') }}
{% endmacro %}

{% macro lakehouse__load_csv_rows(model, agate_table) %}
  {{ exceptions.raise_compiler_error('seeds are loaded by the seed materialization of this adapter') }}
{% endmacro %}
