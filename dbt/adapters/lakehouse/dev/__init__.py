"""``lakehouse dev``: dbt kept in one process, which builds what was saved and looks at what came of it.

============  ==================================================================
``values``    problems, results and looks, as the screen gets them
``places``    which files of a project count
``watching``  tells of saves, and of lines that are typed
``resident``  dbt in this process, one invocation after the other
``problems``  what dbt says is wrong, made short
``changed``   what differs between two parses of a project (pure)
``agenda``    what is to be built next
``looking``   rows of a relation, and its difference from the base branch
``loop``      from a save to what is shown
============  ==================================================================
"""
