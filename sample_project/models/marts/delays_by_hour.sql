select
    origin,
    scheduled_hour,
    {{ punctuality_measures() }}
from {{ ref('fct_flights') }}
group by origin, scheduled_hour
order by origin, scheduled_hour
