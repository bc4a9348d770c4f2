"""A project that uses much of what dbt knows: versions, groups, exposures, semantic models, selectors, hooks, unit tests."""

from __future__ import annotations

WIDE = {
    "dbt_project.yml": """
name: shop
version: "1.0"
profile: shop
flags: {send_anonymous_usage_stats: false}
query-comment: "asked by {{ target.name }}"
vars: {least: 0}
models: {shop: {+materialized: table}}
on-run-start: "create table if not exists {{ target.schema }}.audit (command varchar)"
on-run-end: "insert into {{ target.schema }}.audit values ('{{ flags.WHICH }}')"
""",
    "selectors.yml": """
selectors:
  - name: nightly
    definition: {union: [{method: tag, value: nightly}, {method: group, value: finance}, {exclude: [{method: fqn, value: days}]}]}
""",
    "seeds/raw.csv": "id,ordered_at,amount\n1,2026-01-01,10\n2,2026-01-02,20\n3,2026-01-03,30\n",
    "models/staged.sql": "{{ config(tags=['nightly'], group='finance', access='private') }} select * from {{ ref('raw') }}",
    "models/orders_v1.sql": "select id, amount from {{ ref('staged') }}",
    "models/orders_v2.sql": "select id, amount, ordered_at from {{ ref('staged') }} where amount >= {{ var('least') }}",
    "models/totals.sql": "select sum(amount)::integer as total from {{ ref('orders', v=2) }}",
    "models/off.sql": "{{ config(enabled=false) }} select 1 as id",
    "models/days.sql": "select unnest(range(date '2026-01-01', date '2026-02-01', interval 1 day))::date as day",
    "models/sold.sql": """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='ordered_at', batch_size='day',
          begin='2026-01-01') }}
select * from {{ ref('dated') }}
""",
    "models/dated.sql": """
{{ config(event_time='ordered_at') }} select id, ordered_at::timestamp as ordered_at from {{ ref('raw') }}
""",
    "models/schema.yml": """
groups:
  - {name: finance, owner: {name: ann, email: ann@example.org}}

models:
  - name: orders
    latest_version: 2
    config: {group: finance, meta: {owner: ann}}
    description: what was ordered
    columns: [{name: id, description: its number, data_tests: [unique, not_null]}, {name: amount}]
    versions:
      - {v: 1, deprecation_date: 2020-01-01, columns: [{include: [id, amount]}]}
      - v: 2
        columns: [{include: all}, {name: ordered_at}]
  - name: totals
    config: {tags: [nightly]}
    columns: [{name: total, data_tests: [not_null]}]
  - name: staged
    config: {docs: {show: false}}
  - name: days
    time_spine: {standard_granularity_column: day}
    columns: [{name: day, granularity: day}]

unit_tests:
  - name: adds_up
    model: totals
    given:
      - {input: "ref('orders', v=2)", rows: [{amount: 1}, {amount: 2}]}
    expect: {rows: [{total: 3}]}

exposures:
  - name: board
    type: dashboard
    owner: {name: ann}
    depends_on: [ref('totals')]

semantic_models:
  - name: orders
    model: ref('orders')
    defaults: {agg_time_dimension: ordered_at}
    entities: [{name: order, type: primary, expr: id}]
    dimensions: [{name: ordered_at, type: time, type_params: {time_granularity: day}}]
    measures: [{name: revenue, agg: sum, expr: amount}]

metrics:
  - {name: revenue, label: Revenue, type: simple, type_params: {measure: revenue}}

saved_queries:
  - name: daily
    query_params: {metrics: [revenue], group_by: ["TimeDimension('order__ordered_at', 'day')"]}
""",
    "macros/say.sql": """
{% macro say(word) %}
  {% if execute %}{% do log(word ~ ' ' ~ run_query('select count(*) from ' ~ ref('totals')).rows[0][0], info=true) %}{% endif %}
{% endmacro %}
""",
}
"""Its files by their names."""
