"""Spans of requests, batches and runs: their parents, links and attributes, over HTTP and gRPC; metrics."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.serving.grpc.service import GrpcService
from rectexport.runtime.serving.http.app import HttpApp
from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.repository import Repository
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.telemetry.telemetry import Telemetry
from rectexport.runtime.serving.workers.hosted import ModelSpec
from rectexport.runtime.serving.workers.protocol import Done, Feeds, ModelFailed
from tests.runtime.serving.conftest import json_body, run
from tests.runtime.serving.fake_worker import FakeWorker
from tests.runtime.tiny import dynamic_package

for library in ("orjson", "prometheus_client", "tritonclient.grpc"):
    pytest.importorskip(library)
sdk_metrics = pytest.importorskip("opentelemetry.sdk.metrics")
sdk_trace = pytest.importorskip("opentelemetry.sdk.trace")
trace_export = pytest.importorskip("opentelemetry.sdk.trace.export")
in_memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
metrics_export = pytest.importorskip("opentelemetry.sdk.metrics.export")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{PARENT}-01"


class Failing(FakeWorker):
    def run(self, feeds: Feeds, done: Done) -> None:
        asyncio.get_running_loop().call_soon(done, ModelFailed("no memory"))


class Traced:
    """A service without an engine whose spans and metrics are kept."""

    def __init__(self, service: Service, telemetry: Telemetry, kept: Any, reader: Any) -> None:
        self.service, self.telemetry, self._kept, self._reader = service, telemetry, kept, reader
        self.app = HttpApp(service)

    async def post(self, body: bytes, **headers: str) -> int:
        """POST to the model's infer path; the status."""
        sent: list[Any] = []
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/v2/models/net/infer", "headers": fields}

        async def receive() -> dict[str, Any]:
            if not sent:
                sent.append(None)
                return {"type": "http.request", "body": body}
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        answers: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            answers.append(message)

        await self.app(scope, receive, send)
        return int(answers[0]["status"])

    def spans(self, kind: str) -> list[Any]:
        """Finished spans whose name starts so."""
        return [span for span in self._kept.get_finished_spans() if span.name.startswith(kind)]

    def points(self, name: str) -> list[Any]:
        """Data points of a metric."""
        data = self._reader.get_metrics_data()
        metrics = [one for scope in data.resource_metrics[0].scope_metrics for one in scope.metrics]
        return [point for one in metrics if one.name == name for point in one.data.data_points]


def with_traced(
    tmp_path: Path, test: Callable[[Traced], Awaitable[None]], worker: type[FakeWorker] = FakeWorker, watch: bool = True
) -> None:
    package = ServedPackage("net", "1", dynamic_package(tmp_path / "tiny").path)

    async def serve() -> None:
        kept, reader = in_memory.InMemorySpanExporter(), metrics_export.InMemoryMetricReader()
        tracers = sdk_trace.TracerProvider()
        tracers.add_span_processor(trace_export.SimpleSpanProcessor(kept))
        telemetry = Telemetry(tracers, sdk_metrics.MeterProvider([reader]))
        limits, log = Limits(max_delay=0.0), Log(io.StringIO())
        models = Repository(
            lambda: [package], lambda spec: worker(), spec=ModelSpec(""), limits=limits, log=log, telemetry=telemetry
        )
        await models.load_all()
        service = Service(models, limits, log)
        service.telemetry = telemetry
        if watch:
            telemetry.watch(models.served)
        await test(Traced(service, telemetry, kept, reader))
        models.close()

    run(serve)


def example(traced: Traced) -> bytes:
    x = traced.service.repository.get("net").probe.feeds["x"]
    return json_body(np.asarray(x)[:1])


def test_a_request_continues_its_client_s_trace_down_to_the_run(tmp_path: Path) -> None:
    async def test(traced: Traced) -> None:
        before = time.time_ns()
        assert await traced.post(example(traced), traceparent=SENT, **{"x-request-id": "mine"}) == 200
        (request,), (batch,), (ran,) = traced.spans("infer net"), traced.spans("batch net"), traced.spans("run net")
        assert (
            request.parent is not None and f"{request.parent.span_id:016x}" == PARENT and request.kind.name == "SERVER"
        )
        assert {f"{span.context.trace_id:032x}" for span in (request, batch, ran)} == {TRACE}
        assert batch.parent.span_id == request.context.span_id and ran.parent.span_id == batch.context.span_id
        assert request.attributes["rectexport.request_id"] == "mine"
        assert request.attributes["rectexport.outcome"] == "ok" and batch.attributes["rectexport.rows"] == 1
        assert before <= request.start_time <= batch.start_time <= ran.start_time <= ran.end_time <= batch.end_time
        assert batch.end_time <= request.end_time <= time.time_ns()

    with_traced(tmp_path, test)


def test_a_batch_is_linked_with_each_of_its_requests(tmp_path: Path) -> None:
    async def test(traced: Traced) -> None:
        body = example(traced)
        assert await asyncio.gather(*(traced.post(body) for _ in range(4))) == [200] * 4
        batches = traced.spans("batch")
        together = max(batches, key=lambda span: span.attributes["rectexport.requests"])
        assert together.attributes["rectexport.requests"] == together.attributes["rectexport.rows"] == 3
        requests = {span.context.span_id: span for span in traced.spans("infer")}
        linked = {link.context.span_id for link in together.links}
        assert len(linked) == 2 and linked < requests.keys() and together.parent.span_id in requests.keys() - linked
        for span_id in linked:
            assert [link.context.span_id for link in requests[span_id].links] == [together.context.span_id]

    with_traced(tmp_path, test)


def test_failures_are_errors(tmp_path: Path) -> None:
    async def test(traced: Traced) -> None:
        assert await traced.post(example(traced)) == 500
        assert await traced.post(b"{") == 400
        failed, malformed = traced.spans("infer")
        assert not failed.status.is_ok and not malformed.status.is_ok
        assert all(span.status.description == "ModelFailed" for span in (*traced.spans("batch"), *traced.spans("run")))
        traced.service.leave()
        assert await traced.post(example(traced)) == 503
        assert (
            traced.spans("infer")[-1].status.description == traced.spans("infer")[-1].attributes["rectexport.outcome"]
        )

    with_traced(tmp_path, test, Failing)


def test_grpc_carries_the_trace_too(tmp_path: Path) -> None:
    grpc = pytest.importorskip("grpc")
    from tritonclient.grpc import service_pb2

    async def test(traced: Traced) -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((GrpcService(traced.service).handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        x = np.asarray(traced.service.repository.get("net").probe.feeds["x"])[:1]
        message = service_pb2.ModelInferRequest(model_name="net")
        message.inputs.add(name="x", datatype="FP32", shape=x.shape)
        message.raw_input_contents.append(x.tobytes())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            await infer(message.SerializeToString(), metadata=[("traceparent", SENT)])
        await server.stop(0)
        (request,), (ran,) = traced.spans("infer net"), traced.spans("run net")
        assert request.attributes["rectexport.protocol"] == "grpc"
        assert f"{request.parent.span_id:016x}" == PARENT and f"{ran.context.trace_id:032x}" == TRACE

    with_traced(tmp_path, test)


def test_metrics(tmp_path: Path) -> None:
    async def test(traced: Traced) -> None:
        for _ in range(3):
            await traced.post(example(traced))
        await traced.post(b"{")
        counts = {
            point.attributes["rectexport.outcome"]: point.count
            for point in traced.points("rectexport.request.duration")
        }
        assert counts["ok"] == 3 and len(counts) == 2
        assert [point.sum for point in traced.points("rectexport.batch.rows")] == [3]
        assert [point.count for point in traced.points("rectexport.run.duration")] == [3]
        assert [point.value for point in traced.points("rectexport.workers")] == [1]
        assert [point.value for point in traced.points("rectexport.queue.length")] == [0]

    with_traced(tmp_path, test)


def test_the_warm_up_is_not_counted(tmp_path: Path) -> None:
    async def test(traced: Traced) -> None:
        assert await traced.post(example(traced)) == 200
        assert traced.points("rectexport.run.duration") == [] == traced.spans("run")

    with_traced(tmp_path, test, watch=False)


def test_an_unsampled_trace_costs_no_spans(tmp_path: Path) -> None:
    async def test(traced: Traced) -> None:
        assert await traced.post(example(traced), traceparent=SENT[:-1] + "0") == 200
        assert traced.spans("") == []

    with_traced(tmp_path, test)
