{#- The raw files write a missing value as NA, so a reader may have typed any of their columns as text. -#}
{% macro parsed(column, type) -%}
    cast(nullif(trim(cast({{ column }} as varchar)), 'NA') as {{ type }})
{%- endmacro %}


{#- A clock reading written as the number hhmm (517 is 05:17, 2400 is midnight) as minutes since midnight. -#}
{% macro minute_of_day(hhmm) -%}
    ((({{ hhmm }}) // 100) * 60 + ({{ hhmm }}) % 100) % 1440
{%- endmacro %}
