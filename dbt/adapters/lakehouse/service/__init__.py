"""The execution service: the verbs of a lake over HTTP, for those who hold a token.

Who asks: ``policy`` says who may do what, ``access`` is a catalog that holds to it, ``tokens``, ``token_gate`` and
``audit`` say who asked; ``store`` keeps what a service must remember beside the catalog, ``config`` is its configuration.

What is done: ``core`` holds everything, ``runs`` the runs and sessions of clients between their requests, ``once`` what was
asked for twice.

How it is reached: ``server`` listens, ``door`` lets in, ``app`` and ``routes_…`` are the paths, ``builds`` and ``streams``
answers that take their time, ``replies`` all others, ``description`` the OpenAPI document, ``metrics`` and ``logs`` what is
told about it. ``start`` puts it together.
"""
