"""Iceberg tables, written and read by DuckDB. Knows files, not branches.

================  =======================================================================
``values``        what goes into a write and what comes out
``writer``        a query to a new, replaced, appended or overwritten table
``rows``          row-level changes: positional deletes and new rows, or a rewrite
``evolve``        columns added, dropped, renamed, retyped; comments; properties
``maintenance``   compaction
``reachable``     which files tables consist of
``reader``        a metadata location to the SELECT that reads it
----------------  -----------------------------------------------------------------------
``duckdb_types``  DuckDB's types to Iceberg's and back
``schema``        a query's columns to an Iceberg schema, field ids, casts between the two
``partitions``    partition specs, sort orders, and the SQL that lays rows out by them
``changes``       a query's columns beside a table's: dbt's on_schema_change
``constraints``   not null, unique and check, on what is about to be committed
``parquet``       one COPY, and the cleaning up after one that failed
``fresh``         files that a job wrote and still has at hand
``stats``         COPY's statistics to the bounds in a manifest
``deletes``       which files are dropped, rewritten, or get a delete file
``metadata``      a table's state at a metadata location, and the cache of it
``commits``       manifests, snapshots and ``metadata.json`` of the next state
``avro``          pyiceberg's manifest writers, made fast
``fileio``        pyiceberg's files, over ``storage``
================  =======================================================================
"""
