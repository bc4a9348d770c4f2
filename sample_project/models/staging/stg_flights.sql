with

flights as (

    select * from {{ source('raw', 'flights') }}

),

typed as (

    select
        cast("year" as integer) as flight_year,
        cast("month" as integer) as flight_month_number,
        cast("day" as integer) as flight_day,
        cast(sched_dep_time as integer) as scheduled_departure_hhmm,
        cast(sched_arr_time as integer) as scheduled_arrival_hhmm,
        {{ parsed('dep_time', 'integer') }} as departure_hhmm,
        {{ parsed('dep_delay', 'integer') }} as departure_delay,
        {{ parsed('arr_delay', 'integer') }} as arrival_delay,
        {{ parsed('air_time', 'integer') }} as air_minutes,
        cast(distance as integer) as distance_miles,
        carrier,
        cast(flight as integer) as flight_number,
        {{ parsed('tailnum', 'varchar') }} as tail_number,
        origin,
        dest as destination,
        cast(time_hour as timestamptz) as scheduled_hour_utc
    from flights

),

dated as (

    select
        *,
        make_date(flight_year, flight_month_number, flight_day) as flight_date,
        cast({{ minute_of_day('scheduled_departure_hhmm') }} as integer) as scheduled_departure_minute
    from typed

)

select
    concat_ws(
        '-',
        strftime(flight_date, '%Y%m%d'),
        strftime(cast(flight_date as timestamp) + to_minutes(scheduled_departure_minute), '%H%M'),
        carrier,
        flight_number
    ) as flight_id,
    flight_date,
    carrier,
    flight_number,
    tail_number,
    origin,
    destination,
    cast(flight_date as timestamp) + to_minutes(scheduled_departure_minute) as scheduled_departure_at,
    cast(flight_date as timestamp)
        + to_minutes(scheduled_departure_minute)
        + to_minutes(departure_delay) as departed_at,
    cast(scheduled_departure_minute // 60 as integer) as scheduled_hour,
    scheduled_hour_utc,
    departure_delay,
    arrival_delay,
    air_minutes,
    distance_miles,
    departure_hhmm is null as is_cancelled
from dated
