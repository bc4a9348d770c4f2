"""The ``lakehouse`` command.

=================  ===================================================================
``main``           the entry point; errors and exit codes
``options``        options that every command takes, before or after its name
``context``        what a command works with: which lake, which branch, where to print
``profiles``       finds and renders an output of ``profiles.yml``, without dbt
``output``         JSON documents, tables and lines, in colour where there is any
``shapes``         commits, refs, tables, changes and runs as JSON objects
``words``          times, sizes and counts as people read them
``values``         rows as JSON, CSV and cells
``refs``           branch, tag
``history``        log, show, diff
``merge``          merge
``data``           tables, table
``names``          ``SCHEMA.NAME`` as an argument
``query``          query
``sources``        files to import, and the SELECT that reads them
``load``           import
``progress``       its bar
``runs``           runs, run
``dev``            dev
``dev_screen``     what it shows
``ci``             ci
``serve``          serve
``complete``       names for the shell's completion
=================  ===================================================================

Start-up counts: modules here import click alone; DuckDB, Arrow, SQLAlchemy, YAML, Jinja and Rich come in when used.
"""
