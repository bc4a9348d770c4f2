"""A lake behind a service, for those who hold a URL and a token.

===========  =====================================================
``lake``     the lake, its runs (``run``) and sessions (``session``)
``catalog``  the catalog, verb by verb (``verbs``)
``rows``     rows as Arrow streams
``http``     requests, sent again when something broke
``wire``     documents and headers; the service speaks them too
===========  =====================================================
"""
