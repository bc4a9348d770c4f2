-- Each table of delays is a breakdown of the same flights: none may lose or double any.
{{ config(store_failures=true) }}

with

{% set breakdowns = ['delays_by_carrier', 'delays_by_route', 'delays_by_hour', 'delays_by_weather', 'delays_by_plane_age'] -%}

counted as (

    {% for breakdown in breakdowns -%}
    select '{{ breakdown }}' as breakdown, cast(sum(flights) as bigint) as flights_counted
    from {{ ref(breakdown) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

expected as (

    select count(*) as flights from {{ ref('fct_flights') }}

)

select
    counted.breakdown,
    counted.flights_counted,
    expected.flights as flights_expected,
    expected.flights - counted.flights_counted as flights_missing
from counted
cross join expected
where counted.flights_counted is distinct from expected.flights
