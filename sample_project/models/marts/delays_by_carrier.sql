with

measured as (

    select
        carrier,
        {{ punctuality_measures() }}
    from {{ ref('fct_flights') }}
    group by carrier

)

select
    measured.carrier,
    carriers.carrier_name,
    measured.flights,
    measured.cancelled_flights,
    measured.cancelled_share,
    measured.on_time_share,
    measured.avg_departure_delay,
    measured.avg_arrival_delay,
    measured.p90_arrival_delay,
    rank() over (order by measured.on_time_share desc) as punctuality_rank
from measured
inner join {{ ref('stg_carriers') }} as carriers
    on measured.carrier = carriers.carrier
order by punctuality_rank
