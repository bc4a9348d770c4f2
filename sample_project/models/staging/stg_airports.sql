select
    faa as airport,
    "name" as airport_name,
    cast(lat as double) as latitude,
    cast(lon as double) as longitude,
    cast(alt as integer) as altitude_feet,
    {{ parsed('tzone', 'varchar') }} as time_zone
from {{ source('raw', 'airports') }}
