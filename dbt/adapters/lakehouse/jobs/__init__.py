"""A job: one statement's or one model's execution, as a value, and the worker that runs it.

===================  ====================================================================
``job``              the values: inputs, actions, results; their JSON form
``instance``         a DuckDB with its limits and its private folder
``secrets``          what an instance reaches S3 and the like with; ``filesystems``: others by fsspec
``engine``           a DuckDB in which inputs are bound under the lake's names
``sandbox``          a DuckDB that can open a job's files and no others
``permitted``        which SQL the sandbox lets through
``luggage``          what a session takes along from one DuckDB to the next
``tokens``           SQL text as DuckDB's tokenizer sees it
``monitor``          tells watchers how far a job is
``python_model``     runs a dbt Python model's code
``project_modules``  has a model's modules imported anew
``worker``           runs a job in an engine
===================  ====================================================================

Workers get metadata locations and return metadata locations; they never see the catalog.
"""
