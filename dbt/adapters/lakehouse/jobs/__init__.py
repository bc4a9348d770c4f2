"""A job: one statement's or one model's execution, as a value, and the worker that runs it.

================  ====================================================================
``job``           the values: inputs, actions, results; their JSON form
``engine``        a warm DuckDB in which inputs are bound under the lake's names
``python_model``  runs a dbt Python model's code
``worker``        runs a job in an engine
================  ====================================================================

Workers get metadata locations and return metadata locations; they never see the catalog.
"""
