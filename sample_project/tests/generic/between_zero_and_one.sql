{#- Shares are between 0 and 1. A column without a value passes: combine with not_null where it has to be there. -#}
{% test between_zero_and_one(model, column_name) %}

select *
from {{ model }}
where {{ column_name }} < 0 or {{ column_name }} > 1

{% endtest %}
