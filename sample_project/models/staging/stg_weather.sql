with

weather as (

    select * from {{ source('raw', 'weather') }}

),

typed as (

    select
        origin as airport,
        cast(time_hour as timestamptz) as hour_utc,
        {{ parsed('temp', 'double') }} as temperature_f,
        {{ parsed('humid', 'double') }} as humidity_percent,
        {{ parsed('wind_speed', 'double') }} as wind_mph,
        {{ parsed('wind_gust', 'double') }} as gust_mph,
        {{ parsed('precip', 'double') }} as rain_inches,
        {{ parsed('pressure', 'double') }} as pressure_hpa,
        {{ parsed('visib', 'double') }} as visibility_miles
    from weather

)

select
    airport,
    hour_utc,
    temperature_f,
    humidity_percent,
    -- Newark's station reported a wind of 1,048 mph in February.
    case when wind_mph < 200 then wind_mph end as wind_mph,
    case when gust_mph < 250 then gust_mph end as gust_mph,
    rain_inches,
    pressure_hpa,
    visibility_miles
from typed
