"""``lakehouse ci``: a pull request's build on a branch of the lake, its report, and how it reaches the base branch.

=============  =================================================================
``values``     what dbt built, and what came of an attempt
``dbt_build``  a process that runs dbt and writes down what it built
``running``    starts that process
``origin``     which pull request, and which code, as the environment says
``branches``   names of branches, and the mark on what passed
``pipeline``   build, publish, close
``looking``    differences of an attempt from its base
``report``     Markdown for a comment or a job's summary
``markdown``   its words, escaped and kept within bounds
=============  =================================================================
"""
