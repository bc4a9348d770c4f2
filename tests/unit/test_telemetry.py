"""Traces reach a collector that speaks OTLP over HTTP, and cost nothing where none is wanted."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from otlp_collector import Collector

from dbt.adapters.lakehouse import telemetry

RUN = """
import sys, time
from dbt.adapters.lakehouse import telemetry
with telemetry.run_span(sys.argv[1], branch="main") as run:
    with run.child("node", node="model.shop.orders") as node:
        with telemetry.record() as phases:
            with telemetry.phase("bind"):
                time.sleep(0.01)
        node.phases(phases)
    try:
        with run.child("broken"):
            raise ValueError("no such table")
    except ValueError:
        pass
with telemetry.run_span(sys.argv[1]).child("later"):
    pass
telemetry.flush()
"""


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_run_is_one_trace_that_carries_its_id(collector: Collector) -> None:
    run = str(uuid.uuid4())
    python(RUN, run, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert {span.trace_id.hex() for span in collector.spans} == {uuid.UUID(run).hex}
    root, node, bind = (collector.named(name) for name in ("run", "node", "bind"))
    assert not root.parent_span_id
    assert node.parent_span_id == root.span_id == collector.named("later").parent_span_id
    assert bind.parent_span_id == node.span_id
    assert bind.end_time_unix_nano - bind.start_time_unix_nano >= 10_000_000
    assert {a.key: a.value.string_value for a in node.attributes} == {"lakehouse.node": "model.shop.orders"}
    assert collector.named("broken").status.message == "no such table"
    assert collector.named("broken").status.code == 2


@pytest.mark.parametrize(
    "environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}]
)
def test_nothing_is_imported_where_no_traces_are_wanted(environment: dict[str, str]) -> None:
    code = RUN + "\nprint([name for name in sys.modules if name.startswith('opentelemetry')])"
    assert python(code, "r1", **environment).strip() == "[]"


def test_the_trace_of_a_program_around_is_used() -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
from dbt.adapters.lakehouse import telemetry
with telemetry.run_span("r1") as run:
    run.child("node").end()
print([span.name for span in spans.get_finished_spans()])
"""
    assert python(code).strip() == "['node', 'run']"


def test_phases_are_recorded_only_where_somebody_asks() -> None:
    with telemetry.phase("before"):
        pass
    with telemetry.record() as outer, telemetry.phase("bind"), telemetry.record() as inner, telemetry.phase("inside"):
        pass
    assert [phase.name for phase in outer] == ["bind"]
    assert [phase.name for phase in inner] == ["inside"]
