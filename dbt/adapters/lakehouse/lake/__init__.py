"""The one seam above everything else: a lake, the runs on it, and their sessions.

===============  ==================================================================
``base``         the protocols and their values
``embedded``     all in this process: SQLite catalog, DuckDB workers
``versions``     merging and going back, on a catalog
``maintenance``  collecting garbage and compacting
``remote``       all behind a service, reached by URL and token
``exports``      tables as files beside the lake; ``exported_files`` puts them there
``connect``      a connection for Python programs that read
``compare``      one relation at two refs: its columns and rows
``rerun``        a past run once more, on the data that it saw; ``replay``, ``retold`` beneath it
===============  ==================================================================
"""
