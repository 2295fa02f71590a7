"""The protocol over gRPC, on a real socket, with standard clients."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from tests.runtime.serving.conftest import Running

grpcclient = pytest.importorskip("tritonclient.grpc")
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def served(serve: Callable[..., Running], exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Running:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    return serve(f"digits={exported}", "--token-file", file, "--max-body-mb", 1)


@pytest.fixture(scope="module")
def output(exported: Path) -> str:
    return str(json.loads((exported / "manifest.json").read_text())["outputs"][0]["name"])


@pytest.fixture(scope="module")
def expected(exported: Path) -> tuple[Any, Any]:
    with load(exported) as session:
        shape = session.package.goldens()[0]["x"].shape
        x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
        return x, session(x)


@pytest.fixture
def client(served: Running) -> Any:
    return grpcclient.InferenceServerClient(served.grpc)


HEADERS = {"authorization": f"Bearer {TOKEN}"}


def infer_input(x: Any) -> Any:
    given = grpcclient.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x)
    return given


def test_stock_client(client: Any, expected: tuple[Any, Any], output: str) -> None:
    x, y = expected
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits", headers=HEADERS)
    result = client.infer("digits", [infer_input(x)], request_id="me", headers=HEADERS)
    np.testing.assert_allclose(result.as_numpy(output), y, rtol=1e-5, atol=1e-6)
    assert result.get_response().id == "me"
    assert client.get_server_metadata(headers=HEADERS).name == "rectexport"
    assert list(client.get_model_metadata("digits", headers=HEADERS).versions) == ["1"]
    assert client.get_model_config("digits", headers=HEADERS).config.name == "digits"
    (stats,) = client.get_inference_statistics("digits", headers=HEADERS).model_stats
    assert stats.inference_count and stats.inference_stats.success.count and stats.batch_stats
    assert client.get_model_repository_index(headers=HEADERS).models[0].state == "READY"


def test_typed_contents(served: Running, expected: tuple[Any, Any]) -> None:
    grpc = pytest.importorskip("grpc")
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    x, y = expected
    stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(served.grpc))
    message = service_pb2.ModelInferRequest(model_name="digits")
    message.inputs.add(name="x", datatype="FP32", shape=x.shape).contents.fp32_contents.extend(x.ravel())
    reply = stub.ModelInfer(message, metadata=tuple(HEADERS.items()))
    got = np.frombuffer(reply.raw_output_contents[0], np.float32).reshape(y.shape)
    np.testing.assert_allclose(got, y, rtol=1e-5, atol=1e-6)
    del message.inputs[0].contents.fp32_contents[3:]
    with pytest.raises(grpc.RpcError, match="3 values in fp32_contents"):
        stub.ModelInfer(message, metadata=tuple(HEADERS.items()))
    with pytest.raises(grpc.RpcError) as refused:
        stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest())
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_aio_and_stream(served: Running, expected: tuple[Any, Any], output: str) -> None:
    aio = pytest.importorskip("tritonclient.grpc.aio")
    x, y = expected

    async def infer() -> list[Any]:
        async with aio.InferenceServerClient(served.grpc) as client:
            calls = (client.infer("digits", [infer_input(x)], headers=HEADERS) for _ in range(8))
            return [result.as_numpy(output) for result in await asyncio.gather(*calls)]

    for got in asyncio.run(infer()):
        np.testing.assert_allclose(got, y, rtol=1e-5, atol=1e-6)
    client = grpcclient.InferenceServerClient(served.grpc)
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=HEADERS)
    client.async_stream_infer("none", [infer_input(x)])
    client.async_stream_infer("digits", [infer_input(x)], request_id="2")
    _, error = answers.get(timeout=20)
    assert "no model 'none'" in str(error)
    result, _ = answers.get(timeout=20)
    np.testing.assert_allclose(result.as_numpy(output), y, rtol=1e-5, atol=1e-6)
    client.stop_stream()


def code(error: pytest.ExceptionInfo[Any]) -> str:
    return str(error.value.status()).removeprefix("StatusCode.")


def test_request_errors(client: Any, expected: tuple[Any, Any], output: str) -> None:
    x, _ = expected
    error = grpcclient.InferenceServerException if hasattr(grpcclient, "InferenceServerException") else Exception
    cases: list[tuple[str, Any, dict[str, Any], str]] = [
        ("none", x, {"headers": HEADERS}, "NOT_FOUND"),
        ("digits", x, {}, "UNAUTHENTICATED"),
        ("digits", x[0], {"headers": HEADERS}, "INVALID_ARGUMENT"),
        ("digits", x, {"headers": HEADERS, "outputs": [grpcclient.InferRequestedOutput("z")]}, "INVALID_ARGUMENT"),
        ("digits", np.zeros((5000, *x.shape[1:]), np.float32), {"headers": HEADERS}, "RESOURCE_EXHAUSTED"),
    ]
    for model, array, options, expected_code in cases:
        with pytest.raises(error) as refused:
            client.infer(model, [infer_input(array)], **options)
        assert code(refused) == expected_code, refused.value
    with pytest.raises(error, match="--repository-api"):
        client.unload_model("digits", headers=HEADERS)
    assert client.infer("digits", [infer_input(x)], headers=HEADERS).as_numpy(output).shape[0] == len(x)


def test_the_health_protocol_needs_no_token(served: Running) -> None:
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(served.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=20) == check(b"\x0a\x03any", timeout=20) == b"\x08\x01"
        assert next(channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)) == b"\x08\x01"


def test_unknown_models_are_not_ready_and_have_no_statistics(client: Any) -> None:
    assert client.is_model_ready("none", headers=HEADERS) is False
    with pytest.raises(Exception, match="no model") as refused:
        client.get_inference_statistics("none", headers=HEADERS)
    assert code(refused) == "INVALID_ARGUMENT"


def test_classification(client: Any, expected: tuple[Any, Any], output: str) -> None:
    x, y = expected
    wanted = grpcclient.InferRequestedOutput(output, class_count=1)
    texts = client.infer("digits", [infer_input(x)], headers=HEADERS, outputs=[wanted]).as_numpy(output)
    assert [int(text.decode().split(":")[1]) for text in texts.ravel()] == [y.argmax()]


def test_a_token_that_is_given_twice_is_refused(served: Running) -> None:
    grpc = pytest.importorskip("grpc")
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    with grpc.insecure_channel(served.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="given twice"):
            stub.ServerMetadata(service_pb2.ServerMetadataRequest(), metadata=tuple(HEADERS.items()) * 2)
