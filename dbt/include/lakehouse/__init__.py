"""Macros and templates that dbt reads; no code."""

from pathlib import Path

PACKAGE_PATH = str(Path(__file__).parent)
