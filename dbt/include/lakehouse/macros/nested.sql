{#- A contract may name the columns within a column (``address.city``): they are the fields of its type. -#}
{% macro lakehouse__get_empty_schema_sql(columns) %}
  {{ return(default__get_empty_schema_sql(adapter.contract_columns(columns))) }}
{% endmacro %}

{% macro lakehouse__get_column_names() %}
  {%- for column in adapter.contract_columns(model['columns']).values() %}
    {{ adapter.quote(column['name']) if column.get('quote') else column['name'] }}{{ ", " if not loop.last }}
  {%- endfor -%}
{% endmacro %}
