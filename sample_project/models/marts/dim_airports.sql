with

airports as (

    select airport, airport_name, latitude, longitude, altitude_feet, time_zone
    from {{ ref('stg_airports') }}

    union all

    select airport, airport_name, latitude, longitude, altitude_feet, time_zone
    from {{ ref('caribbean_airports') }}

)

select
    airports.airport,
    airports.airport_name,
    coalesce(regions.region, 'Elsewhere') as region,
    airports.latitude,
    airports.longitude,
    airports.altitude_feet
from airports
left join {{ ref('regions') }} as regions
    on airports.time_zone = regions.time_zone
