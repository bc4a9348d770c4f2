"""How workers are reached.

==================  ==============================================================
``base``            the protocols
``local``           warm workers in this process, one a session at a time
``local_stream``    a query's rows while it runs there
``pool``            jobs in worker processes
``execution``       one job's way through a pool: its turn, attempts, record
``slots``           worker processes and the right to run in them
``queue``           who is next
``limits``          what a pool has, and what of it a job gets
``retries``         which failures pass by themselves
``records``         what is remembered of jobs
``discard``         files of a job whose result nobody wants
``folder``          where workers spill
``worker_process``  the pool's side of a worker process
``process``         what a worker process runs
``frames``          how the two talk
==================  ==============================================================
"""
