{#- A table of the lake, whose rows become files once the run is published. -#}
{% materialization external, adapter='lakehouse', supported_languages=['sql', 'python'] %}
  {%- set relation = this.incorporate(type='table') -%}
  {%- set location = render(config.get('location') or external_location(this, config)) -%}
  {%- set options = render_write_options(config) -%}
  {%- if pre_hooks -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- endif -%}
  {%- set code = compiled_code if model['language'] == 'python' else lakehouse_contracted(sql) -%}
  {%- do lakehouse_built(
        relation, code, adapter.build_external(model, relation, code, location, options, config.get('sql_header'))) -%}
  {%- if post_hooks -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
  {%- endif -%}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}
