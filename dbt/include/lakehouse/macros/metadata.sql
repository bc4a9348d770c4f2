{#- dbt's own tasks ask the adapter; this is for projects and packages that call the macro. -#}
{% macro lakehouse__get_relation_last_modified(information_schema, relations) %}
  {%- call statement('last_modified', fetch_result=True) -%}
    {{ adapter.last_modified_sql(relations) }}
  {%- endcall -%}
  {{ return(load_result('last_modified')) }}
{% endmacro %}
