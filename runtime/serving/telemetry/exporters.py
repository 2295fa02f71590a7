"""OpenTelemetry's SDK with its OTLP exporters, as its environment variables say."""

from __future__ import annotations

import os

from rectexport.runtime.base.environment import require, version
from rectexport.runtime.serving.telemetry.telemetry import SCOPE, Telemetry

_SPANS = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_METRICS = "opentelemetry.exporter.otlp.proto.http.metric_exporter"


def open_telemetry() -> Telemetry:
    """Send spans and metrics by OTLP over HTTP, to localhost:4318 unless OTEL_EXPORTER_OTLP_ENDPOINT says otherwise.

    Sampling, batching, the service's name and further attributes are those of the SDK's variables
    (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Raises MissingDependency
    without the extra `otel`.
    """
    sdk, metrics = require("opentelemetry.sdk.trace"), require("opentelemetry.sdk.metrics")
    export, resources = require("opentelemetry.sdk.trace.export"), require("opentelemetry.sdk.resources")
    readers, spans, points = require("opentelemetry.sdk.metrics.export"), require(_SPANS), require(_METRICS)
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    attributes = {"service.version": version("rectexport") or ""} | ({} if named else {"service.name": SCOPE})
    resource = resources.Resource.create(attributes)
    tracers = sdk.TracerProvider(resource=resource)
    tracers.add_span_processor(export.BatchSpanProcessor(spans.OTLPSpanExporter()))
    reader = readers.PeriodicExportingMetricReader(points.OTLPMetricExporter())
    return Telemetry(tracers, metrics.MeterProvider([reader], resource=resource))
