"""Numbers for Prometheus, in a registry of the service's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from dbt.adapters.lakehouse.__version__ import version

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.service.core import Service

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_TOTALS = ("cold_starts", "retries", "wait_seconds")


class Metrics:
    """Counts requests; asks the service for the rest when it is scraped."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("lakehouse_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "lakehouse_request_seconds",
            "How long requests took, to the last byte of the answer.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("lakehouse_requests_in_flight", "Requests not yet answered.", registry=self.registry)
        build = Gauge("lakehouse_build_info", "The version that runs.", ("version",), registry=self.registry)
        build.labels(version).set(1)
        self.registry.register(_Asked(service))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Asked:
    """Numbers that the service knows at any time."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Any]:
        """See ``prometheus_client.registry.Collector``."""
        runs, sessions = self._service.runs.counts()
        yield GaugeMetricFamily("lakehouse_runs_open", "Runs that clients work on.", value=runs)
        yield GaugeMetricFamily("lakehouse_sessions_open", "Sessions of runs and of readers.", value=sessions)
        yield GaugeMetricFamily("lakehouse_draining", "1 while shutting down.", value=float(self._service.draining))
        stats = getattr(self._service.executor, "stats", None)
        if stats is None:
            return
        for name, value in _numbers(stats()).items():
            if isinstance(value, dict):
                ended = CounterMetricFamily("lakehouse_jobs_ended", "Jobs by how they ended.", labels=["result"])
                for result, count in sorted(value.items()):
                    ended.add_metric([result], count)
                yield ended
            elif name in _TOTALS:
                yield CounterMetricFamily(f"lakehouse_jobs_{name}", f"Of the pool: {name}.", value=value)
            else:
                yield GaugeMetricFamily(f"lakehouse_pool_{name}", f"Of the pool: {name}.", value=value)


def _numbers(stats: Any) -> dict[str, Any]:
    return {field.name: getattr(stats, field.name) for field in dataclasses.fields(stats)}
