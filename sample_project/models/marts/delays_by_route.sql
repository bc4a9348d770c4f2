with

measured as (

    select
        origin,
        destination,
        count(distinct carrier) as carriers,
        cast(max(distance_miles) as integer) as distance_miles,
        round(median(air_minutes), 1) as median_air_minutes,
        {{ punctuality_measures() }},
        round(avg(minutes_made_up), 1) as avg_minutes_made_up
    from {{ ref('fct_flights') }}
    group by origin, destination

)

select
    measured.origin,
    measured.destination,
    airports.airport_name as destination_name,
    airports.region as destination_region,
    measured.* exclude (origin, destination)
from measured
inner join {{ ref('dim_airports') }} as airports
    on measured.destination = airports.airport
order by measured.flights desc, measured.origin, measured.destination
