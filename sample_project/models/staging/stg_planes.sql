select
    tailnum as tail_number,
    {{ parsed('"year"', 'integer') }} as year_built,
    "type" as plane_type,
    manufacturer,
    model,
    cast(engines as integer) as engines,
    cast(seats as integer) as seats,
    engine as engine_type
from {{ source('raw', 'planes') }}
