"""Fixtures: a served digits network, a model with faults on request, and requests without a server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.files import sha256
from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.signature import Signature

START_SECONDS = 60.0


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    http: str
    grpc: str | None
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        """Logged events of that name."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> dict[str, Any]:
        """The event, once it has been logged that often."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if len(found := self.events(name)) >= count:
                return found[count - 1]
            assert self.process.poll() is None or self.events(name), self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"no {name} within {START_SECONDS} s:\n{self.log.read_text()}")


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts `rectexport serve WORDS` on free ports, and ends it with the module."""
    for library in ("orjson", "prometheus_client", "tritonclient.grpc", "uvicorn"):
        pytest.importorskip(library)
    with contextlib.ExitStack() as stack:

        def start(*words: object, main: str = "rectexport") -> Running:
            log = tmp_path_factory.mktemp("served") / "log"
            command = [sys.executable, "-m", main, "serve", *map(str, words), "--port", "0", "--threads", "1"]
            if "--grpc-port" not in command:
                command += ["--grpc-port", "0"]
            stream = stack.enter_context(log.open("w"))
            process = stack.enter_context(subprocess.Popen(command, stdout=stream, stderr=stream, text=True))
            stack.callback(process.kill)
            running = Running(process, "", None, log)
            ports = running.wait_for("serving")
            running.http, running.grpc = ports["http"], ports["grpc"]
            return running

        yield start


@pytest.fixture
def signature() -> Signature:
    """x [1..8, 3, 4..6] float32 and m [1..8] int32 -> y [batch, 2] float32."""
    x = TensorEntry("x", "float32", ("batch", 3, "w"), ShapeRange((1, 3, 4), (2, 3, 4), (8, 3, 6)))
    m = TensorEntry("m", "int32", ("batch",), ShapeRange((1,), (2,), (8,)))
    return Signature.of((x, m), (TensorEntry("y", "float32", ("batch", 2)),))


@pytest.fixture
def feeds() -> dict[str, Any]:
    """Two rows that fit the signature."""
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((2, 3, 4)).astype(np.float32), "m": np.array([3, -4], np.int32)}


def run(test: Callable[[], Any]) -> Any:
    """Run a coroutine function to its end, for at most 20 s."""

    async def limited() -> Any:
        return await asyncio.wait_for(test(), 20)

    return asyncio.run(limited())


@pytest.fixture(scope="session")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose model fails as its input requests.

    x [batch, 3] -> y [batch, 1] = log x0 + table[x1], after max x2 turns of a loop: 0 in x0 gives infinity and -1
    NaN, 9 in x1 makes the engine raise, 1e12 in x2 makes it hang.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("trouble") / "trouble"
    folder.mkdir()
    turns = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("on", 9), ("c", 1))]
    ends = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("on_", 9), ("c_", 1))]
    body = [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Mul", ["c", "zero"], ["c_"])]
    nodes = [
        helper.make_node("Split", ["x", "ones"], ["x0", "x1", "x2"], axis=1),
        helper.make_node("Log", ["x0"], ["logarithm"]),
        helper.make_node("Cast", ["x1"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["entry"]),
        helper.make_node("ReduceMax", ["x2"], ["longest"], keepdims=0),
        helper.make_node("Cast", ["longest"], ["count"], to=TensorProto.INT64),
        helper.make_node("Loop", ["count", "", "zero"], ["looped"], body=helper.make_graph(body, "turn", turns, ends)),
        helper.make_node("Sum", ["logarithm", "entry", "looped"], ["y"]),
    ]
    constants = {"ones": np.array([1, 1, 1]), "table": np.arange(4, dtype=np.float32), "zero": np.float32(0)}
    graph = helper.make_graph(
        nodes,
        "trouble",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    x = np.array([[2, 1, 2]] * 2, np.float32)
    np.savez(folder / "goldens.npz", **{"input.x": x, "output.y": np.log(x[:, :1]) + 1})
    bounds = {"min": [1, 3], "opt": [2, 3], "max": [8, 3]}
    document = {
        "format": "rectexport-package",
        "version": 1,
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3], "range": bounds}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", 1]}],
        "tolerances": {"relative_l2": 1e-5},
        "rows": "independent",
        "files": {name: sha256(folder / name) for name in ("model.onnx", "goldens.npz")},
    }
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The message of an error response."""
        return str(json.loads(self.body)["error"])

    def tensor(self, name: str) -> Any:
        """One output of a JSON answer."""
        (found,) = [entry for entry in json.loads(self.body)["outputs"] if entry["name"] == name]
        return np.array(found["data"], np.float32).reshape(found["shape"])


def ask(address: str, path: str, body: bytes | None = None, method: str = "", **headers: str) -> Answer:
    """One HTTP request on a connection of its own; _ stands for - in headers' names."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, fields)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def json_body(x: Any, **fields: Any) -> bytes:
    """An infer request for one float32 input x."""
    array = np.asarray(x, np.float32)
    entry = {"name": "x", "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
    return json.dumps({"inputs": [entry], **fields}).encode()
