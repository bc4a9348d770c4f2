{#- Grants are of names: what stands under a name after a build has those that it had before, and dbt changes what differs. -#}
{% macro lakehouse__apply_grants(relation, grant_config, should_revoke=True) %}
  {%- do adapter.note_grants(grant_config) -%}
  {{ return(default__apply_grants(relation, grant_config, True)) }}
{% endmacro %}

{% macro lakehouse__get_show_grant_sql(relation) %}
  show grants on {{ relation.render() }}
{% endmacro %}

{%- macro lakehouse__get_grant_sql(relation, privilege, grantees) -%}
  grant {{ privilege }} on {{ relation.render() }} to {{ lakehouse_quoted(grantees) }}
{%- endmacro -%}

{%- macro lakehouse__get_revoke_sql(relation, privilege, grantees) -%}
  revoke {{ privilege }} on {{ relation.render() }} from {{ lakehouse_quoted(grantees) }}
{%- endmacro -%}

{%- macro lakehouse_quoted(names) -%}
  {%- set quoted = [] -%}
  {%- for name in names -%}
    {%- do quoted.append(adapter.quote(name)) -%}
  {%- endfor -%}
  {{ quoted | join(', ') }}
{%- endmacro -%}
