"""Spans of requests, batches and runs, and metrics, through the OpenTelemetry API.

A request's span continues the trace that its client sent (W3C `traceparent`). A batch serves several requests: its span
is a child of the first one's and has a link to each of the others, whose spans have a link back. A run of the engine is
a child of its batch; its length is what the worker measured, and it ends when the batch ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

from rectexport.runtime.base.environment import require
from rectexport.runtime.serving.repository import ServedModel
from rectexport.runtime.serving.workers.protocol import BatchResult, Ran

SCOPE = "rectexport"
#: Attributes of spans and metrics.
MODEL, VERSION, PROTOCOL, OUTCOME = (f"{SCOPE}.{name}" for name in ("model", "version", "protocol", "outcome"))
ROWS, REQUESTS, REQUEST_ID = (f"{SCOPE}.{name}" for name in ("rows", "requests", "request_id"))
#: A request's span; None where nothing is traced.
Span = Any


@final
class Telemetry:
    """Makes spans and counts with the given providers. Raises MissingDependency without the OpenTelemetry API."""

    def __init__(self, tracers: Any, meters: Any) -> None:
        self._trace, self._propagate = require("opentelemetry.trace"), require("opentelemetry.propagate")
        self._metrics = require("opentelemetry.metrics")
        self._providers, self._warm = (tracers, meters), False
        self._tracer, self._meter = tracers.get_tracer(SCOPE), meters.get_meter(SCOPE)
        self._requests = self._meter.create_histogram(
            f"{SCOPE}.request.duration", unit="s", description="From a request's arrival to its answer"
        )
        self._runs = self._meter.create_histogram(
            f"{SCOPE}.run.duration", unit="s", description="Runs of the engine that succeeded"
        )
        self._rows = self._meter.create_histogram(f"{SCOPE}.batch.rows", unit="{row}", description="Rows of a run")

    def watch(self, served: Callable[[], Iterable[ServedModel]]) -> None:
        """Report runs, and the queue and the workers of these models, from now on: the warm-up is over."""
        self._warm = True

        def observed(value: Callable[[ServedModel], int]) -> Callable[[Any], list[Any]]:
            return lambda options: [
                self._metrics.Observation(value(model), {MODEL: model.name, VERSION: model.version})
                for model in served()
            ]

        gauges: dict[str, tuple[str, Callable[[ServedModel], int]]] = {
            "queue.length": ("Requests that wait for a worker", lambda model: model.batcher.waiting),
            "workers": ("Workers that are alive", lambda model: len(model.pool.workers)),
        }
        for name, (description, value) in gauges.items():
            self._meter.create_observable_gauge(f"{SCOPE}.{name}", [observed(value)], description=description)

    def start(self, protocol: str, carrier: Mapping[str, str]) -> Span:
        """The span of a request that arrives; carrier holds its headers, with lower-case names."""
        parent = self._propagate.extract(carrier)
        server = self._trace.SpanKind.SERVER
        return self._tracer.start_span("infer", parent, server, {PROTOCOL: protocol})

    def ended(self, span: Span, names: tuple[str, str], protocol: str, outcome: str, seconds: float, id: str) -> None:
        """The end of a request; names are the model's and its version, empty for an unknown one."""
        attributes = {MODEL: names[0], VERSION: names[1], OUTCOME: outcome}
        if names[0]:
            span.update_name(f"infer {names[0]}")
        span.set_attributes({**attributes, REQUEST_ID: id} if id else attributes)
        if outcome != "ok":
            span.set_status(self._trace.StatusCode.ERROR, outcome)
        span.end()
        self._requests.record(seconds, {**attributes, PROTOCOL: protocol}, self._trace.set_span_in_context(span))

    def ran(self, names: tuple[str, str], spans: Sequence[Span], rows: int, began: float, outcome: BatchResult) -> None:
        """A batch that ended now and began at `began` of time.perf_counter; spans are those of its requests."""
        if not self._warm:
            return
        end = time.time_ns()
        start = end - _ns(time.perf_counter() - began)
        attributes = {MODEL: names[0], VERSION: names[1]}
        traced = [span for span in spans if span is not None]
        if traced:
            parent = self._trace.set_span_in_context(traced[0])
            links = [self._trace.Link(span.get_span_context()) for span in traced[1:]]
            counts = {**attributes, ROWS: rows, REQUESTS: len(spans)}
            batch = self._tracer.start_span(
                f"batch {names[0]}", parent, self._trace.SpanKind.INTERNAL, counts, links, start
            )
            for span in traced[1:]:
                if span.is_recording():  # it may be over, by its deadline or because its client left
                    span.add_link(batch.get_span_context())
            self._run(batch, names[0], counts, start, end, outcome)
            batch.end(end)
        if isinstance(outcome, Ran):
            self._runs.record(outcome.seconds, attributes)
            self._rows.record(rows, attributes)

    def close(self) -> None:
        """Send what is not sent yet, and end the exporters' threads."""
        for provider in self._providers:
            provider.shutdown()

    def _run(
        self, batch: Span, model: str, attributes: Mapping[str, Any], start: int, end: int, outcome: BatchResult
    ) -> None:
        begin = max(start, end - _ns(outcome.seconds)) if isinstance(outcome, Ran) else start
        context = self._trace.set_span_in_context(batch)
        run = self._tracer.start_span(f"run {model}", context, self._trace.SpanKind.INTERNAL, attributes, None, begin)
        if not isinstance(outcome, Ran):
            for span in (batch, run):
                span.set_status(self._trace.StatusCode.ERROR, type(outcome).__name__)
        run.end(end)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
