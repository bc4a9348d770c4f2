{#- The measures that every table about delays has, over rows of fct_flights. Shares are null where nothing flew. -#}
{% macro punctuality_measures() -%}
    count(*) as flights,
    count(*) filter (where status = 'cancelled') as cancelled_flights,
    {{ share("status = 'cancelled'") }} as cancelled_share,
    {{ share('is_on_time', among="status = 'arrived'") }} as on_time_share,
    round(avg(departure_delay), 1) as avg_departure_delay,
    round(avg(arrival_delay), 1) as avg_arrival_delay,
    round(quantile_cont(arrival_delay, 0.9), 1) as p90_arrival_delay
{%- endmacro %}


{#- The part of rows for which a condition holds, to four digits; null if there are none. -#}
{% macro share(condition, among='true') -%}
    round(
        cast(count(*) filter (where {{ among }} and {{ condition }}) as double)
        / nullif(count(*) filter (where {{ among }}), 0),
        4
    )
{%- endmacro %}
