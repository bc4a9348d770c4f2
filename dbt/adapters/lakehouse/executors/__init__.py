"""How workers are reached.

=========  =====================================================
``base``   the protocol
``local``  warm workers in this process, one a session at a time
=========  =====================================================
"""
