"""A dbt run as a trace."""

from __future__ import annotations

import json
import uuid

from dbt_shop import Shop
from otlp_collector import Collector


def test_a_run_is_a_trace_of_its_nodes_and_what_they_spent_their_time_on(shop: Shop, collector: Collector) -> None:
    shop.models(orders="select 1 as id", broken="select error('on purpose') as id")
    shop.dbt("run", code=1, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    invocation = json.loads(shop.read("target/run_results.json"))["metadata"]["invocation_id"]
    assert {span.trace_id.hex() for span in collector.spans} == {uuid.UUID(invocation).hex}
    root = collector.named("run")
    assert root.status.message.startswith("1 failed: model.shop.broken")
    nodes = {a.value.string_value: s for s in collector.spans if s.name == "node" for a in s.attributes}
    orders, broken = nodes["model.shop.orders"], nodes["model.shop.broken"]
    assert {orders.parent_span_id, broken.parent_span_id} == {root.span_id}
    assert "on purpose" in broken.status.message
    (job,) = [span for span in collector.spans if span.parent_span_id == orders.span_id]
    parts = [span.name for span in collector.spans if span.parent_span_id == job.span_id]
    assert sorted(parts) == ["bind", "execute", "write"]
    assert {span.parent_span_id for span in collector.spans if span.name == "commit"} == {root.span_id}
