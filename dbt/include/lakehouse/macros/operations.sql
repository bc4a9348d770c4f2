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

{% macro lakehouse_merge(from, into, dry_run=false, message=none, no_ff=false, take=none, accept_tainted=false, allow=none) %}
  {{ print(adapter.lakehouse("merge", from, into=into, dry_run=dry_run, message=message, no_ff=no_ff, take=take, accept_tainted=accept_tainted, allow=allow)) }}
{% endmacro %}

{% macro lakehouse_revert(what, to=none, on=none, with_dependants=false, knowingly=false, accept_tainted=false, dry_run=false, message=none) %}
  {{ print(adapter.lakehouse("revert", what, to=to, on=on, with_dependants=with_dependants, knowingly=knowingly, accept_tainted=accept_tainted, dry_run=dry_run, message=message)) }}
{% endmacro %}

{% macro lakehouse_reset(branch, to, accept_tainted=false, dry_run=false, message=none) %}
  {{ print(adapter.lakehouse("reset", branch, to=to, accept_tainted=accept_tainted, dry_run=dry_run, message=message)) }}
{% endmacro %}

{% macro lakehouse_check(ref=none) %}
  {{ print(adapter.lakehouse("check", ref)) }}
{% endmacro %}

{% macro lakehouse_log(ref=none, limit=none, table=none) %}
  {{ print(adapter.lakehouse("log", ref, limit=limit, table=table)) }}
{% endmacro %}

{% macro lakehouse_show(commit) %}
  {{ print(adapter.lakehouse("show", commit)) }}
{% endmacro %}

{% macro lakehouse_diff(old, new, rows=false, key=none) %}
  {{ print(adapter.lakehouse("diff", old, new, rows=rows, key=key)) }}
{% endmacro %}

{% macro lakehouse_runs(limit=none) %}
  {{ print(adapter.lakehouse("runs", limit=limit)) }}
{% endmacro %}

{% macro lakehouse_run(id) %}
  {{ print(adapter.lakehouse("run", "show", id)) }}
{% endmacro %}

{% macro lakehouse_rerun(id, branch=none, keep=false) %}
  {{ print(adapter.lakehouse("rerun", id, branch=branch, keep=keep)) }}
{% endmacro %}

{% macro lakehouse_gc(dry_run=false, keep_history=none, keep_failed_runs=none, keep_results=none, grace=none) %}
  {{ print(adapter.lakehouse("gc", dry_run=dry_run, keep_history=keep_history, keep_failed_runs=keep_failed_runs, keep_results=keep_results, grace=grace)) }}
{% endmacro %}

{% macro lakehouse_compact(tables=[], branch=none, all=false, keep_snapshots=none, older_than=none, dry_run=false) %}
  {{ print(adapter.lakehouse("compact", tables, branch=branch, all=all, keep_snapshots=keep_snapshots, older_than=older_than, dry_run=dry_run)) }}
{% endmacro %}
