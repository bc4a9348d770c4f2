-- From format 3 to 4: entries may be functions, and tables materialized views.

-- The tables are the same. An earlier release would fail on the first such entry that it reads, and does not open them.
