-- An airliner that covers less than 60 or more than 720 miles in an hour is a mistake in distance or air time.
{{ config(store_failures=true) }}

select
    flight_id,
    origin,
    destination,
    distance_miles,
    air_minutes,
    round(distance_miles / air_minutes * 60) as miles_per_hour
from {{ ref('fct_flights') }}
where air_minutes is not null
    and distance_miles / air_minutes * 60 not between 60 and 720
