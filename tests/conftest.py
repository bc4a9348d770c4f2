"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from otlp_collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of traces that listens."""
    collector = Collector()
    yield collector
    collector.close()
