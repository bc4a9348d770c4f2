select
    tail_number,
    manufacturer,
    model,
    plane_type,
    engine_type,
    engines,
    seats,
    year_built,
    2013 - year_built as age_in_2013,
    case
        when year_built is null then 'unknown'
        when 2013 - year_built < 5 then 'under 5 years'
        when 2013 - year_built < 15 then '5 to 14 years'
        when 2013 - year_built < 25 then '15 to 24 years'
        else '25 years and more'
    end as age_group
from {{ ref('planes_history') }}
where dbt_valid_to is null
