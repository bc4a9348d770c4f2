"""The catalog: branches, commits and entries of the whole lake.

================  ====================================================================
``model``         the values: keys, entries, changes, commits, refs, conflicts, runs
``refs``          the grammar of ref expressions and of branch and tag names
``graph``         merge bases and ancestry, over a look-up function
``merge``         three-way merge
``taint``         what runs that did not pass wrote, and who vouches for it
``base``          the protocol that every catalog implements
``sql_catalog``   SQLite and PostgreSQL, through SQLAlchemy (``schema.sql``): the verbs
``sql_*``         its parts: ``database``, ``refs``, ``history``, ``states``,
                  ``contents``, ``locations``, ``moves``, ``runs``, ``results``,
                  ``merge``, ``taint``, ``collect``
================  ====================================================================

``model``, ``refs``, ``graph``, ``merge`` and ``taint`` do no I/O.
"""
