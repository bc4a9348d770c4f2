{#- As dbt's own, but a materialized view is cloned as one, what cannot be cloned says why, and what stands at another ref
    (`state_ref` in the profile) is read there. Nothing is copied: a clone is another name for the same files. -#}

{% materialization clone, adapter='lakehouse' %}
  {%- if not defer_relation -%}
    {{ log("No relation found in state manifest for " ~ model.unique_id, info=True) }}
    {{ return({'relations': []}) }}
  {%- endif -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- if existing and not flags.FULL_REFRESH -%}
    {{ log("Relation " ~ existing ~ " already exists", info=True) }}
    {{ return({'relations': []}) }}
  {%- endif -%}
  {%- set source = adapter.clone_source(defer_relation) -%}
  {%- if this.render() == source.render() -%}
    {{ log("Target relation and defer relation are the same, skipping clone for relation: " ~ this.render()) }}
    {{ return({'relations': [source]}) }}
  {%- endif -%}
  {%- set kind = source.type if can_clone_table() else 'view' -%}
  {%- set same_name = this.schema == source.schema and this.identifier == source.identifier -%}
  {%- if kind == 'view' and not (same_name and source.is_view) -%}
    {%- set relation = this.incorporate(type='view') -%}
    {%- set code = 'select * from ' ~ source -%}
    {%- do lakehouse_built(relation, code, adapter.build_view(model, relation, code)) -%}
  {%- else -%}
    {%- set relation = this.incorporate(type=kind) -%}
    {%- if existing and existing.type != kind -%}
      {{ drop_relation_if_exists(existing) }}
    {%- endif -%}
    {%- call statement('main') -%}
      {%- if kind == 'table' -%}
        {{ create_or_replace_clone(relation, source) }}
      {%- else -%}
        create or replace {{ kind | replace('_', ' ') }} {{ relation }} clone {{ source }}
      {%- endif -%}
    {%- endcall -%}
    {%- if config.get('grants') -%}
      {%- do apply_grants(relation, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=True)) -%}
    {%- endif -%}
    {%- do persist_docs(relation, model) -%}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}
