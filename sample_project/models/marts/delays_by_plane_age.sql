with

flights as (

    select
        flights.*,
        coalesce(planes.age_group, 'not registered') as age_group
    from {{ ref('fct_flights') }} as flights
    left join {{ ref('dim_planes') }} as planes
        on flights.tail_number = planes.tail_number

)

select
    age_group,
    count(distinct tail_number) as planes,
    {{ punctuality_measures() }}
from flights
group by age_group
order by age_group
