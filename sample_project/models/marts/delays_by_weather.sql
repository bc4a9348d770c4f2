with

hours as (

    select
        airport,
        hour_utc,
        case
            when visibility_miles < 1 then 'fog'
            when rain_inches >= 0.1 then 'heavy rain'
            when wind_mph >= 25 then 'strong wind'
            when rain_inches > 0 then 'rain'
            when temperature_f < 32 then 'frost'
            else 'fair'
        end as weather
    from {{ ref('stg_weather') }}

),

flights as (

    select
        flights.*,
        coalesce(hours.weather, 'not recorded') as weather
    from {{ ref('fct_flights') }} as flights
    left join hours
        on flights.origin = hours.airport
        and flights.scheduled_hour_utc = hours.hour_utc

)

select
    weather,
    {{ punctuality_measures() }}
from flights
group by weather
order by on_time_share desc
