"""The execution service: the verbs of a lake over HTTP, for those who hold a token.

``policy`` says who may do what, ``access`` is a catalog that holds to it, ``tokens`` and ``audit`` say who asked;
``store`` keeps what a service must remember beside the catalog, ``config`` is its configuration.
"""
