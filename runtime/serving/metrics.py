"""Metrics in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from rectexport.runtime.base.environment import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rectexport.runtime.serving.log import Log
    from rectexport.runtime.serving.repository import Repository
    from rectexport.runtime.serving.shadow.record import Record

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_LABELS = ("model", "version")


@final
class Metrics:
    """Counts requests as they end; the models' own counts are read when the metrics are scraped."""

    def __init__(
        self, repository: Repository, log: Log, shadows: Callable[[], Mapping[tuple[str, str], Record]]
    ) -> None:
        self._client = client = require("prometheus_client")
        self._registry = client.CollectorRegistry()
        self._requests = client.Counter(
            "rectexport_requests",
            "Infer requests that ended, by outcome",
            ("model", "version", "protocol", "outcome"),
            registry=self._registry,
        )
        self._seconds = client.Histogram(
            "rectexport_request_seconds",
            "Seconds from an infer request's arrival to its answer",
            ("model", "version", "protocol"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._repository, self._log, self._shadows = repository, log, shadows
        self._bound: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self._registry.register(self)

    def ended(self, model: str, version: str, protocol: str, outcome: str, seconds: float) -> None:
        """Count a request that ended; model is empty when the request named no loaded model."""
        key = (model, version, protocol, outcome)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._requests.labels(*key), self._seconds.labels(model, version, protocol)
            self._bound[key] = bound
        bound[0].inc()
        bound[1].observe(seconds)

    def text(self) -> bytes:
        """The page that Prometheus scrapes."""
        return bytes(self._client.generate_latest(self._registry))

    def collect(self) -> Iterable[Any]:
        """The models' own counts, as prometheus_client calls for them."""
        gauge, counter = self._client.metrics_core.GaugeMetricFamily, self._client.metrics_core.CounterMetricFamily
        families = {
            "waiting": gauge("rectexport_queue_length", "Requests that wait for a worker", labels=_LABELS),
            "workers": gauge("rectexport_workers", "Workers that are alive", labels=_LABELS),
            "restarts": counter("rectexport_worker_restarts", "Workers that died", labels=_LABELS),
            "rows": counter("rectexport_rows", "Rows inferred", labels=_LABELS),
            "runs": counter("rectexport_batches", "Runs of the engine", labels=_LABELS),
            "infer": counter("rectexport_engine_seconds", "Seconds in the engine", labels=_LABELS),
            "queue": counter("rectexport_queue_seconds", "Seconds that requests waited", labels=_LABELS),
        }
        dropped = counter("rectexport_log_lines_dropped", "Log lines that could not be written")
        dropped.add_metric((), self._log.dropped)
        for model in self._repository.served():
            labels, counted = (model.name, model.version), model.statistics
            values = {
                "waiting": model.batcher.waiting,
                "workers": len(model.pool.workers),
                "restarts": model.pool.restarts,
                "rows": counted.rows,
                "runs": counted.runs,
                "infer": sum(duration.ns for duration in counted.batches.values()) / 1e9,
                "queue": counted.queue.ns / 1e9,
            }
            for name, value in values.items():
                families[name].add_metric(labels, value)
        return (*families.values(), dropped, *self._of_shadows())

    def _of_shadows(self) -> Iterable[Any]:
        gauge, counter = self._client.metrics_core.GaugeMetricFamily, self._client.metrics_core.CounterMetricFamily
        texts = {
            "compared": "Requests whose answers were compared with the shadow's",
            "dropped": "Requests that were not compared, because the shadow was behind",
            "failed": "Requests that the shadow did not answer",
            "differing": "Compared requests that differed by more than allowed",
        }
        counts = {name: counter(f"rectexport_shadow_{name}", text, labels=_LABELS) for name, text in texts.items()}
        labels = (*_LABELS, "output", "region")
        worst = gauge("rectexport_shadow_distance", "Largest distance of an output, by region", labels=labels)
        for key, record in self._shadows().items():
            for name, family in counts.items():
                family.add_metric(key, getattr(record, name))
            for place, region in record.regions.items():
                worst.add_metric((*key, *place), region.worst)
        return (*counts.values(), worst) if self._shadows() else ()
