{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='flight_month',
        on_schema_change='append_new_columns',
        partition_by=['month(flight_date)'],
        sort_by=['flight_date', 'carrier']
    )
}}

with

flights as (

    select * from {{ ref('stg_flights') }}
    {% if is_incremental() %}
    -- Delays are corrected until the month is over, so the newest month is taken again as a whole.
    where flight_date >= (select coalesce(max(flight_month), date '1900-01-01') from {{ this }})
    {% endif %}

),

delay_bands as (

    select * from {{ ref('delay_bands') }}

)

select
    flights.flight_id,
    flights.flight_date,
    cast(date_trunc('month', flights.flight_date) as date) as flight_month,
    flights.carrier,
    flights.flight_number,
    flights.tail_number,
    flights.origin,
    flights.destination,
    flights.scheduled_departure_at,
    flights.scheduled_hour,
    flights.scheduled_hour_utc,
    case
        when flights.is_cancelled then 'cancelled'
        when flights.arrival_delay is null then 'diverted'
        else 'arrived'
    end as status,
    flights.departure_delay,
    flights.arrival_delay,
    flights.departure_delay - flights.arrival_delay as minutes_made_up,
    flights.arrival_delay < {{ var('on_time_minutes') }} as is_on_time,
    delay_bands.delay_band,
    flights.air_minutes,
    flights.distance_miles
from flights
left join delay_bands
    on flights.arrival_delay >= delay_bands.from_minutes
    and flights.arrival_delay < delay_bands.below_minutes
