"""Imports pyiceberg, before any other module here does.

pyiceberg's modules import each other in circles. Two threads that come in by different ones of them meet modules that are
half made, so all come in by this one, where the second waits for the first.
"""

import pyiceberg.table  # noqa: F401
