"""Iceberg tables, written and read by DuckDB. Knows files, not branches.

===============  =======================================================================
``values``       what goes into a write and what comes out
``schema``       DuckDB's types to Iceberg's and back, field ids, partition specs, sort orders
``metadata``     manifests, snapshots and ``metadata.json``, through pyiceberg's writers
``reader``       a metadata location to the SELECT that reads it
``writer``       a query to a new, replaced, appended or overwritten table
``rows``         row-level changes: positional deletes and new rows, or a rewrite
``evolve``       columns added, dropped, renamed, retyped; comments; properties
``maintenance``  compaction
===============  =======================================================================
"""
