"""OpenTelemetry traces: one a run, with spans for nodes, jobs and what jobs spend their time on.

On when the standard variables ask for it (``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) or when
the program around this has set up a tracer provider; else nothing is imported and a span costs next to nothing. The trace of
a run has the run's id (dbt's invocation id) as its trace id, so that it is found without a search, and so that a service which
was restarted goes on with it.

Workers import none of this machinery: they note when each phase of a job began and ended (``record``, ``phase``), and whoever
gave them the job turns the notes into spans.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a job's time, in nanoseconds since 1970."""

    name: str
    started: int
    ended: int


_phases: contextvars.ContextVar[list[Phase] | None] = contextvars.ContextVar("lakehouse_phases", default=None)


@contextlib.contextmanager
def record() -> Iterator[list[Phase]]:
    """Collect the phases of what runs in this block, in the order in which they ended."""
    found: list[Phase] = []
    token = _phases.set(found)
    try:
        yield found
    finally:
        _phases.reset(token)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """A phase, if anybody records."""
    found = _phases.get()
    if found is None:
        yield
        return
    started = time.time_ns()
    try:
        yield
    finally:
        found.append(Phase(name=name, started=started, ended=time.time_ns()))


class Span:
    """A span that was begun. ``end`` may be called more than once; the first call counts.

    Attributes are named without the prefix ``lakehouse.``, under which they are sent.
    """

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, **attributes: str | int | float | bool | None) -> None:
        """Say more about what is going on."""
        if self._span is not None:
            self._span.set_attributes(_attributes(attributes))

    def child(self, name: str, *, started: int | None = None, **attributes: str | int | float | bool | None) -> Span:
        """A span below this one; ``started`` is in nanoseconds since 1970, now if None."""
        if self._span is None:
            return Span()
        from opentelemetry import trace

        context = trace.set_span_in_context(self._span)
        return Span(_begin(name, context, attributes, started))

    def phases(self, found: list[Phase] | tuple[Phase, ...]) -> None:
        """What a worker noted, as children."""
        if self._span is not None:
            for part in found:
                self.child(part.name, started=part.started).end(at=part.ended)

    def end(self, error: BaseException | str | None = None, *, at: int | None = None) -> None:
        """It is over, well or with an error."""
        if self._span is None:
            return
        if error is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, str(error)[:500])
        self._span.end(end_time=at)

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self.end(error)


def run_span(run_id: str, **attributes: str | int | float | bool | None) -> Span:
    """The span that all others of a run are below. Who takes a run up again begins it anew: the one that ends is sent."""
    if _tracer() is None:
        return Span()
    from opentelemetry.context import Context

    trace_id = trace_id_of(run_id)
    token = _next_ids.set((trace_id, trace_id >> 64 or 1))
    try:
        return Span(_begin("run", Context(), {"run": run_id, **attributes}, None))
    finally:
        _next_ids.reset(token)


def trace_id_of(run_id: str) -> int:
    """The trace of a run: its id where that is a UUID, as dbt's are."""
    try:
        return uuid.UUID(run_id).int or 1
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, run_id).int


def flush() -> None:
    """Send what was not sent yet; called when a process ends its work."""
    asked = _tracer.cache_info().currsize and _tracer() is not None
    provider = _own_provider() if asked else None
    if provider is not None:
        provider.force_flush(5_000)


_next_ids: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar("lakehouse_trace_ids", default=None)


def _begin(name: str, context: Any, attributes: Mapping[str, Any], started: int | None) -> Any:
    tracer = _tracer()
    assert tracer is not None
    return tracer.start_span(name, context=context, attributes=_attributes(attributes), start_time=started)


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"lakehouse.{name}": value for name, value in attributes.items() if value is not None}


@functools.cache
def _tracer() -> Any:
    """A tracer, or None where nobody wants traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if any(os.environ.get(name) for name in _ENDPOINTS):
        provider = _own_provider()
        return provider.get_tracer("dbt-lakehouse") if provider is not None else None
    if "opentelemetry.sdk.trace" in sys.modules:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider

        if isinstance(provider := trace.get_tracer_provider(), TracerProvider):
            return provider.get_tracer("dbt-lakehouse")
    return None


@functools.cache
def _own_provider() -> Any:
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning(
            "traces are wanted (OTEL_EXPORTER_OTLP_ENDPOINT is set) but OpenTelemetry is not installed; "
            "pip install 'dbt-lakehouse[telemetry]'"
        )
        return None
    provider = TracerProvider(
        resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "dbt-lakehouse")}),
        id_generator=_id_generator(),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _id_generator() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class RunIds(RandomIdGenerator):
        """Random ids, but for the first span of a run."""

        def generate_trace_id(self) -> int:
            ids = _next_ids.get()
            return ids[0] if ids is not None else super().generate_trace_id()

        def generate_span_id(self) -> int:
            ids = _next_ids.get()
            return ids[1] if ids is not None else super().generate_span_id()

    return RunIds()
