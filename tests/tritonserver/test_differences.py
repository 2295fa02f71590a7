"""The same requests to a real tritonserver and to `rectexport serve`: equal, or a line of docs/serving.md's table."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rectexport
from benchmarks.tritonserver.server import Triton, absent, stand_in, tritonserver
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.triton.config import Deployment
from rectexport.runtime.serving.triton.repository import write_model
from tests.runtime.serving.conftest import Running, serve

pytestmark = pytest.mark.skipif(bool(absent()), reason=absent() or "-")
assert callable(serve)  # the fixture

INFER = "/v2/models/net/infer"
Headers = dict[str, str]


def body(*outputs: Any, data: Any = None, **parameters: Any) -> bytes:
    """An infer request for one row."""
    given = [0.5, -1.0, 2.0, 3.0] if data is None else data
    document: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": given}]}
    if outputs:
        document["outputs"] = list(outputs)
    return json.dumps(document | ({"parameters": parameters} if parameters else {})).encode()


#: What is asked -> method, path, body, headers.
REQUESTS: dict[str, tuple[str, str, bytes | None, Headers]] = {
    "infer": ("POST", INFER, body(), {}),
    "the same output twice": ("POST", INFER, body({"name": "y"}, {"name": "y"}), {}),
    "classes": ("POST", INFER, body({"name": "y", "parameters": {"classification": 2}}), {}),
    "more classes than there are": ("POST", INFER, body({"name": "y", "parameters": {"classification": 9}}), {}),
    "a sequence": ("POST", INFER, body(sequence_id=7, sequence_start=True, sequence_end=True), {}),
    "a priority": ("POST", INFER, body(priority=1), {}),
    "an unknown output": ("POST", INFER, body({"name": "z"}), {}),
    "an unknown model": ("POST", "/v2/models/none/infer", body(), {}),
    "an unknown version": ("POST", "/v2/models/net/versions/9/infer", body(), {}),
    "a model that is not ready": ("GET", "/v2/models/none/ready", None, {}),
    "live": ("GET", "/v2/health/live", None, {}),
    "ready": ("GET", "/v2/health/ready", None, {}),
    "statistics of an unknown model": ("GET", "/v2/models/none/stats", None, {}),
    "metadata of an unknown model": ("GET", "/v2/models/none", None, {}),
    "metadata": ("GET", "/v2/models/net", None, {}),
    "the index": ("POST", "/v2/repository/index", b"", {}),
    "the ready index": ("POST", "/v2/repository/index", b'{"ready": true}', {}),
    "a compressed body": ("POST", INFER, gzip.compress(body()), {"Content-Encoding": "gzip"}),
    "a compressed answer": ("POST", INFER, body(), {"Accept-Encoding": "gzip"}),
    "an unknown path": ("GET", "/v2/none", None, {}),
}
#: Where the status is not Triton's, by the table in docs/serving.md: ours and Triton's.
OTHER_STATUS = {
    "no JSON": ("POST", INFER, b"{", 400, 500),
    "data that do not fit": ("POST", INFER, body(data=[1.0, 2.0]), 400, 500),
    "true for a number": ("POST", INFER, body(data=[True, 1.0, 1.0, 1.0]), 400, None),
    "loading": ("POST", "/v2/repository/models/net/load", b"", 404, 503),
    "shared memory": ("GET", "/v2/systemsharedmemory/status", None, 404, 200),
    "NaN": ("POST", INFER, body(data=[-1e38, 3e38, 3e38, 3e38]), 406, 200),
}


class Net(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": x * x.new_tensor([1.0, 2.0, 3.0, 4.0])}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("differences") / "net"
    shapes = ({0: torch.export.Dim("n", min=1, max=8)},)
    rectexport.export(Net(), (torch.randn(2, 4),), out, shapes, guard=False)
    return out


@pytest.fixture(scope="module")
def triton(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    scratch = tmp_path_factory.mktemp("server")
    write_model(ServedPackage("net", "1", package), scratch / "repository", Deployment())
    with tritonserver(stand_in(scratch / "repository", scratch / "stand_in"), scratch) as running:
        yield running


@pytest.fixture(scope="module")
def ours(serve: Callable[..., Running], package: Path) -> Running:
    return serve(package, "--grpc-port", -1)


def ask(address: str, method: str, path: str, content: bytes | None, headers: Headers) -> tuple[int, Any]:
    """Status and JSON of an answer, None for an empty one."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.getheader("content-encoding") == "gzip":
            data = gzip.decompress(data)
        try:
            return answer.status, json.loads(data) if data else None
        except ValueError:
            return answer.status, data
    finally:
        connection.close()


def plain(found: Any) -> Any:
    """Without what may differ: the text of an error, the platform, and numbers of floating point rounded."""
    if isinstance(found, dict):
        left_out = ("platform", "parameters")
        return {key: "…" if key == "error" else plain(value) for key, value in found.items() if key not in left_out}
    if isinstance(found, list):
        return [plain(value) for value in found]
    return float(np.float32(found)) if isinstance(found, float) else found


@pytest.mark.parametrize("name", REQUESTS)
def test_both_give_the_same_answer(name: str, triton: Triton, ours: Running) -> None:
    request = REQUESTS[name]
    wanted, found = ask(triton.http, *request), ask(ours.http, *request)
    assert found[0] == wanted[0], (found, wanted)
    assert plain(found[1]) == plain(wanted[1])


def test_readiness_has_a_body_here(triton: Triton, ours: Running) -> None:
    request: tuple[str, str, None, Headers] = ("GET", "/v2/models/net/ready", None, {})
    assert ask(triton.http, *request) == (200, None)
    assert ask(ours.http, *request) == (200, {"name": "net", "ready": True})


@pytest.mark.parametrize("name", OTHER_STATUS)
def test_where_ours_differs_it_does_as_the_table_says(name: str, triton: Triton, ours: Running) -> None:
    method, path, content, here, there = OTHER_STATUS[name]
    assert ask(ours.http, method, path, content, {})[0] == here
    found = ask(triton.http, method, path, content, {})[0]
    assert there is None or found == there
