-- From its first to its last, fct_flights has flights on every day.
select
    flight_month,
    count(distinct flight_date) as days_with_flights
from {{ ref('fct_flights') }}
group by flight_month
having count(distinct flight_date) <> extract('day' from last_day(flight_month))
