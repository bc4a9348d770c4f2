{#- The commands of `lakehouse`, for places where only dbt runs: `dbt run-operation lakehouse_merge --args '{from: dev, into: main}'`. -#}

{% macro lakehouse_branches(all=false) %}
  {{ print(adapter.lakehouse("branch", "list", all=all)) }}
{% endmacro %}

{% macro lakehouse_create_branch(name, from=none) %}
  {{ print(adapter.lakehouse("branch", "create", name, **{"from": from})) }}
{% endmacro %}

{% macro lakehouse_delete_branch(name, force=false) %}
  {{ print(adapter.lakehouse("branch", "delete", name, force=force)) }}
{% endmacro %}

{% macro lakehouse_protect_branch(name, off=false) %}
  {{ print(adapter.lakehouse("branch", "protect", name, off=off)) }}
{% endmacro %}

{% macro lakehouse_tags() %}
  {{ print(adapter.lakehouse("tag", "list")) }}
{% endmacro %}

{% macro lakehouse_create_tag(name, at=none) %}
  {{ print(adapter.lakehouse("tag", "create", name, at=at)) }}
{% endmacro %}

{% macro lakehouse_delete_tag(name) %}
  {{ print(adapter.lakehouse("tag", "delete", name)) }}
{% endmacro %}

{% macro lakehouse_merge(from, into, dry_run=false, message=none) %}
  {{ print(adapter.lakehouse("merge", from, into=into, dry_run=dry_run, message=message)) }}
{% endmacro %}

{% macro lakehouse_runs() %}
  {{ print(adapter.lakehouse("runs")) }}
{% endmacro %}

{% macro lakehouse_gc(dry_run=false, keep_history=none, keep_failed_runs=none, keep_results=none, grace=none) %}
  {{ print(adapter.lakehouse("gc", dry_run=dry_run, keep_history=keep_history, keep_failed_runs=keep_failed_runs, keep_results=keep_results, grace=grace)) }}
{% endmacro %}

{% macro lakehouse_compact(tables=[], all=false, branch=none, dry_run=false, keep_snapshots=none, older_than=none) %}
  {{ print(adapter.lakehouse("compact", *tables, all=all, branch=branch, dry_run=dry_run, keep_snapshots=keep_snapshots, older_than=older_than)) }}
{% endmacro %}
