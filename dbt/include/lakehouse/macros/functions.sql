{#- dbt writes the statement, which is logged; the function is made of the node itself. -#}
{% materialization function, adapter='lakehouse', supported_languages=['sql', 'python', 'javascript'] %}
  {%- set relation = this.incorporate(type=this.Function) -%}
  {{ run_hooks(pre_hooks) }}
  {%- set macro_name = this.get_function_macro_name(this.get_function_config(model)) -%}
  {#- By another name, since dbt would read a call of adapter.dispatch while it parses. -#}
  {%- set _dispatch = adapter.dispatch -%}
  {%- set statement = _dispatch(macro_name, 'dbt')(relation) -%}
  {{ write(statement) }}
  {%- do store_result('main', response=adapter.build_function(model, relation, statement), agate_table=adapter.no_rows()) -%}
  {%- if config.get('grants') -%}
    {%- do exceptions.warn('grants of function ' ~ model.name ~ ' are not applied: who may read what it reads may call it') -%}
  {%- endif -%}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{% macro lakehouse__formatted_scalar_function_args_sql() %}
  {%- set arguments = [] -%}
  {%- for one in model.arguments -%}
    {%- set default = '' if one.default_value is none or one.default_value is not defined else ' DEFAULT ' ~ one.default_value -%}
    {%- do arguments.append(one.name ~ ' ' ~ one.data_type ~ default) -%}
  {%- endfor -%}
  {{ arguments | join(', ') }}
{% endmacro %}

{% macro lakehouse_function_statement(relation, kind) %}
CREATE OR REPLACE {{ kind }} {{ relation.render() }} ({{ formatted_scalar_function_args_sql() | trim }})
RETURNS {{ model.returns.data_type }}
{%- if model.get('language') == 'python' %}
LANGUAGE PYTHON
RUNTIME_VERSION = '{{ model.config.get('runtime_version') }}'
HANDLER = '{{ model.config.get('entry_point') }}'
{%- set packages = model.config.get('packages', []) %}
{%- if packages %}
PACKAGES = ('{{ packages | join("', '") }}')
{%- endif %}
{%- endif %}
{{ scalar_function_volatility_sql() | trim }}
AS $$
{{ model.compiled_code }}
$$
{% endmacro %}

{% macro lakehouse__scalar_function_sql(target_relation) %}
  {{ return(lakehouse_function_statement(target_relation, 'FUNCTION')) }}
{% endmacro %}

{% macro lakehouse__scalar_function_python(target_relation) %}
  {{ return(lakehouse_function_statement(target_relation, 'FUNCTION')) }}
{% endmacro %}

{% macro lakehouse__aggregate_function_sql(target_relation) %}
  {{ return(lakehouse_function_statement(target_relation, 'AGGREGATE FUNCTION')) }}
{% endmacro %}

{% macro lakehouse__aggregate_function_python(target_relation) %}
  {{ return(lakehouse_function_statement(target_relation, 'AGGREGATE FUNCTION')) }}
{% endmacro %}

{% macro lakehouse_no_javascript() %}
  {{ exceptions.raise_compiler_error(
       "function " ~ model.name ~ " is written in JavaScript, which DuckDB does not run; write it in SQL or Python "
       ~ "(see docs/functions.md)") }}
{% endmacro %}

{% macro lakehouse__scalar_function_javascript(target_relation) %}
  {{ lakehouse_no_javascript() }}
{% endmacro %}

{% macro lakehouse__aggregate_function_javascript(target_relation) %}
  {{ lakehouse_no_javascript() }}
{% endmacro %}
