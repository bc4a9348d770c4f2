"""A run: one state read, changes made on a branch of its own, one merge at the end.

==============  ======================================================================
``values``      names, builds, results
``lifecycle``   a run from its first write to publish, fail or abandon
``liveness``    who works on an open run, and whether it still does
``state``       what a run sees: a commit plus its own writes
``session``     one thread's way in: statements, builds, look-ups
``inputs``      what a job's SQL reads, as the job's inputs
``statements``  what a SQL statement does to the lake; ``tokens`` beneath it
``changes``     INSERT, UPDATE, DELETE, MERGE, CREATE, ALTER, DROP, COMMENT on lake relations
``reuse``       results made before: found, put in place, remembered, waited for
``fingerprint`` what they are found by; ``normal``, ``calls``, ``python_parts`` beneath it
``vouching``    runs that wrote nothing, and are on record for what passed
``provenance``  what entries were computed from, and which of them are stale
``garbage``     what nothing leads to any more; ``compaction``: fewer files; ``upkeep``: their values
``reverting``   commits undone, tables put back; ``dependants``, ``rewriting``, ``going_back`` beneath it
==============  ======================================================================
"""
