"""The protocol over HTTP, on a real socket, with standard clients."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from tests.runtime.serving.conftest import Running, ask, json_body

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def served(serve: Callable[..., Running], exported: Path) -> Running:
    return serve(f"digits={exported}", f"digits/3={exported}", f"other={exported}", "--repository-api")


@pytest.fixture(scope="module")
def expected(exported: Path) -> tuple[Any, Any]:
    """Inputs, and the session's outputs for them."""
    with load(exported) as session:
        shape = session.package.goldens()[0]["x"].shape
        x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
        return x, session(x)


@pytest.fixture(scope="module")
def output(exported: Path) -> str:
    return str(json.loads((exported / "manifest.json").read_text())["outputs"][0]["name"])


def test_health_and_metadata(served: Running) -> None:
    assert ask(served.http, "/v2/health/live").status == 200
    assert ask(served.http, "/v2/health/ready").status == 200
    server = json.loads(ask(served.http, "/v2").body)
    assert server["name"] == "rectexport" and "binary_tensor_data" in server["extensions"]
    model = json.loads(ask(served.http, "/v2/models/digits").body)
    assert model["versions"] == ["1", "3"] and model["inputs"][0]["datatype"] == "FP32"
    assert json.loads(ask(served.http, "/v2/models/digits/versions/3").body)["versions"] == ["3"]
    assert ask(served.http, "/v2/models/digits/versions/1/ready").status == 200
    config = json.loads(ask(served.http, "/v2/models/other/config").body)
    assert config["name"] == "other" and config["input"][0]["data_type"] == "TYPE_FP32"


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_http(served: Running, expected: tuple[Any, Any], output: str, binary: bool) -> None:
    client_library = pytest.importorskip("tritonclient.http")
    x, y = expected
    client = client_library.InferenceServerClient(served.http)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("digits", "1")
    given = client_library.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x, binary_data=binary)
    wanted = client_library.InferRequestedOutput(output, binary_data=binary)
    result = client.infer("digits", [given], request_id="me", outputs=[wanted])
    np.testing.assert_allclose(result.as_numpy(output), y, rtol=1e-5, atol=1e-6)
    said = result.get_response()
    assert (said["id"], said["model_version"]) == ("me", "3")
    squeezed = client.infer("digits", [given], model_version="1", request_compression_algorithm="gzip")
    np.testing.assert_allclose(squeezed.as_numpy(output), y, rtol=1e-5, atol=1e-6)
    (stats,) = client.get_inference_statistics("digits", "1")["model_stats"]
    assert stats["inference_count"] and stats["inference_stats"]["success"]["count"] and stats["batch_stats"]
    assert {entry["name"] for entry in client.get_model_repository_index()} == {"digits", "other"}
    client.close()


def test_tritonclient_http_aio(served: Running, expected: tuple[Any, Any], output: str) -> None:
    client_library = pytest.importorskip("tritonclient.http.aio")
    x, y = expected

    async def infer() -> list[Any]:
        async with client_library.InferenceServerClient(served.http) as client:
            given = client_library.InferInput("x", x.shape, "FP32")
            given.set_data_from_numpy(x)
            results = await asyncio.gather(*(client.infer("digits", [given]) for _ in range(8)))
            return [result.as_numpy(output) for result in results]

    for got in asyncio.run(infer()):
        np.testing.assert_allclose(got, y, rtol=1e-5, atol=1e-6)


def test_curl(served: Running, expected: tuple[Any, Any]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url = f"http://{served.http}/v2/models/digits/infer"
    ran = subprocess.run(["curl", "-sS", url, "-d", "@-"], input=json_body(expected[0]), capture_output=True)
    got = np.array(json.loads(ran.stdout)["outputs"][0]["data"]).reshape(expected[1].shape)
    np.testing.assert_allclose(got, expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "method", "status", "said"),
    [
        ("/v2/models/none/infer", "POST", 404, "no model 'none' is loaded"),
        ("/v2/models/digits/versions/9/infer", "POST", 404, "version '9'"),
        ("/v2/models/digits/infer", "GET", 405, "expected POST"),
        ("/v2/models/none", "GET", 404, "no model"),
        ("/v2/models/none/stats", "GET", 400, "no model"),
        ("/v2/models/none/ready", "GET", 400, "no model"),
        ("/v2/nothing", "POST", 404, "no such path"),
        ("/v2/repository/models/digits", "POST", 404, "no such path"),
        ("/v2/models/digits", "POST", 405, "expected GET"),
        ("/v2/nothing", "GET", 404, "no such path"),
        ("/v2/models/digits/versions", "GET", 404, "no such path"),
        ("/v2/health/well", "GET", 404, "no such path"),
        ("/v2", "POST", 405, "expected GET"),
        ("/v2/repository/models/none/load", "POST", 404, "no model 'none' in this repository"),
        ("/v2/repository/models/none/unload", "POST", 404, "no model 'none' is loaded"),
        ("/v2/repository/other", "POST", 404, "no such path"),
        ("/v2/repository/index", "GET", 405, "expected POST"),
    ],
)
def test_unknown_paths_and_models_are_404(served: Running, path: str, method: str, status: int, said: str) -> None:
    answer = ask(served.http, path, b"{}" if method == "POST" else None, method)
    assert (answer.status, said in answer.error) == (status, True), answer


def test_request_ids(served: Running, expected: tuple[Any, Any]) -> None:
    body = json_body(expected[0])
    assert ask(served.http, "/v2/models/digits/infer", body, X_Request_Id="mine-7").headers["x-request-id"] == "mine-7"
    made = {ask(served.http, "/v2/models/digits/infer", body).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert ask(served.http, "/v2", X_Request_Id="a b\tc").headers["x-request-id"] != "a b\tc"


def test_metrics(served: Running, expected: tuple[Any, Any]) -> None:
    ask(served.http, "/v2/models/other/infer", json_body(expected[0]))
    ask(served.http, "/v2/models/other/infer", b"{}")
    ask(served.http, "/v2/models/none/infer", b"{}")
    text = ask(served.http, "/metrics").body.decode()
    labels = 'model="other",outcome="{}",protocol="http",version="1"'
    for outcome in ("ok", "bad_request"):
        assert f"rectexport_requests_total{{{labels.format(outcome)}}} 1.0" in text
    assert 'model="",outcome="not_found"' in text and "none" not in text
    assert 'rectexport_batches_total{model="other",version="1"} 1.0' in text
    assert 'rectexport_workers{model="other",version="1"} 1.0' in text


def test_models_are_loaded_and_unloaded(served: Running, expected: tuple[Any, Any]) -> None:
    body = json_body(expected[0])
    assert ask(served.http, "/v2/repository/models/other/unload", b"").status == 200
    assert ask(served.http, "/v2/models/other/infer", body).status == 404
    (gone,) = [e for e in json.loads(ask(served.http, "/v2/repository/index", b"").body) if e["name"] == "other"]
    assert gone == {"name": "other", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert ask(served.http, "/v2/models/digits/infer", body).status == 200
    refused = ask(served.http, "/v2/repository/models/other/load", b'{"parameters": {"config": "{}"}}')
    assert (refused.status, "takes no parameters" in refused.error) == (400, True)
    for _ in range(2):  # the second replaces what is loaded
        assert ask(served.http, "/v2/repository/models/other/load", b"").status == 200
        assert ask(served.http, "/v2/models/other/infer", body).status == 200


@pytest.fixture(scope="module")
def guarded(serve: Callable[..., Running], exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Running:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN + "\n")
    words = ("--token-file", file, "--max-body-mb", 1, "--grpc-port", -1, "--log-requests")
    return serve(exported, "--in-process", *words)


def test_a_token_is_required_except_for_health(guarded: Running) -> None:
    assert guarded.grpc is None
    assert ask(guarded.http, "/v2/health/ready").status == 200
    for path, body in (("/v2", None), ("/metrics", None), ("/v2/repository/index", b""), ("/v2/models/x/infer", b"")):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = ask(guarded.http, path, body, **headers)
            assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert ask(guarded.http, "/v2", Authorization=f"Bearer {TOKEN}").status == 200


def test_bodies_have_a_limit(guarded: Running) -> None:
    name = json.loads(ask(guarded.http, "/v2/repository/index", b"", Authorization=f"Bearer {TOKEN}").body)[0]["name"]
    path = f"/v2/models/{name}/infer"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    large = b" " * ((1 << 20) + 1)
    assert ask(guarded.http, path, large, **bearer).status == 413
    bomb = gzip.compress(large)
    assert len(bomb) < 10_000
    assert ask(guarded.http, path, bomb, Content_Encoding="gzip", **bearer).status == 413
    assert ask(guarded.http, path, b"{}", Content_Encoding="br", **bearer).status == 415
    refused = ask(guarded.http, path, b"{}", Inference_Header_Content_Length="-2", **bearer)
    assert (refused.status, "number of bytes" in refused.error) == (400, True)


def test_no_content_in_logs(guarded: Running) -> None:
    secret = b'{"id": "sesame-id", "inputs": [{"name": "sesame-name", "data": ["sesame-data"]}]}'
    name = json.loads(ask(guarded.http, "/v2/repository/index", b"", Authorization=f"Bearer {TOKEN}").body)[0]["name"]
    refused = ask(guarded.http, f"/v2/models/{name}/infer", secret, Authorization=f"Bearer {TOKEN}", X_Request_Id="q-1")
    assert refused.status == 400 and "sesame-name" in refused.error
    entry = guarded.wait_for("request")
    while entry["id"] != "q-1":
        entry = guarded.events("request")[-1]
    assert entry["outcome"] == "bad_request"
    assert "sesame" not in guarded.log.read_text() and TOKEN not in guarded.log.read_text()


def test_the_repository_api_is_off_unless_asked_for(guarded: Running) -> None:
    answer = ask(guarded.http, "/v2/repository/models/x/unload", b"", Authorization=f"Bearer {TOKEN}")
    assert answer.status == 404 and "--repository-api" in answer.error


def test_a_wrong_method_is_told_the_right_ones(served: Running) -> None:
    assert ask(served.http, "/v2/models/digits/infer").headers["allow"] == "POST"
    assert ask(served.http, "/v2/models/digits", method="DELETE").headers["allow"] == "GET, HEAD"
    assert "allow" not in ask(served.http, "/v2/systemsharedmemory/region/a/register", b"{}").headers


@pytest.mark.parametrize("header", ["Authorization: Bearer x", "Content-Encoding: gzip", "Host: other"])
def test_a_header_that_is_there_twice_is_refused(served: Running, header: str) -> None:
    host, port = served.http.split(":")
    with socket.create_connection((host, int(port)), 20) as link:
        lines = ["GET /v2 HTTP/1.1", "Host: here", header, *([] if "Host" in header else [header]), "\r\n"]
        link.sendall("\r\n".join(lines).encode())
        answer = link.recv(1000).decode()
    assert answer.startswith("HTTP/1.1 400") and "is given twice" in answer


def test_answers_are_compressed_and_classified_on_request(
    served: Running, expected: tuple[Any, Any], output: str
) -> None:
    client_library = pytest.importorskip("tritonclient.http")
    x, y = expected
    given = client_library.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x)
    with client_library.InferenceServerClient(served.http) as client:
        for binary in (True, False):
            for encoding in ("gzip", "deflate"):
                wanted = client_library.InferRequestedOutput(output, binary_data=binary)
                result = client.infer("digits", [given], outputs=[wanted], response_compression_algorithm=encoding)
                np.testing.assert_allclose(result.as_numpy(output), y, rtol=1e-5, atol=1e-6)
            wanted = client_library.InferRequestedOutput(output, binary_data=binary, class_count=2)
            texts = client.infer("digits", [given], outputs=[wanted]).as_numpy(output)
            texts = [text.decode() if isinstance(text, bytes) else text for text in texts.ravel()]
            best = np.argsort(-y.ravel())[:2]  # this package has a fixed batch: all its values are one row
            assert [int(text.split(":")[1]) for text in texts] == best.tolist()


def test_the_index_can_be_limited_to_what_is_ready(served: Running) -> None:
    listed = json.loads(ask(served.http, "/v2/repository/index", b'{"ready": true}').body)
    assert {entry["state"] for entry in listed} == {"READY"} and "reason" not in listed[0]
