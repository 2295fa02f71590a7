"""The client's retries."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.serving.http.client import Client, Retry, worth_another_try
from tests.runtime.serving.conftest import Running

QUICK = Retry(attempts=5, pause=0.001, longest=0.01)


class Status(Exception):
    def __init__(self, status: str) -> None:
        super().__init__(status)
        self._status = status

    def status(self) -> str:
        return self._status


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (ConnectionResetError(), True),
        (BrokenPipeError(), True),
        (EOFError(), True),
        *((Status(status), True) for status in ("429", "500", "503", "StatusCode.UNAVAILABLE")),
        *((Status(status), False) for status in ("400", "404", "504", "StatusCode.INVALID_ARGUMENT")),
        (ValueError(), False),
    ],
)
def test_which_errors_are_retried(error: Exception, worth: bool) -> None:
    assert worth_another_try(error) is worth


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize(("failures", "succeeds"), [(0, True), (4, True), (5, False)])
def test_attempts(awaited: bool, failures: int, succeeds: bool) -> None:
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) <= failures:
            raise ConnectionResetError
        return "good"

    async def called() -> str:
        return call()

    def run() -> str:
        return asyncio.run(QUICK.awaited(called)) if awaited else QUICK(call)

    if succeeds:
        assert run() == "good"
    else:
        with pytest.raises(ConnectionResetError):
            run()
    assert len(calls) == min(failures + 1, 5)


def test_a_request_error_is_not_retried() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise Status("400")

    with pytest.raises(Status):
        QUICK(call)
    assert len(calls) == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_against_a_server(serve: Callable[..., Running], exported: Path, protocol: str) -> None:
    with load(exported) as session:
        (entry,) = session.package.manifest.inputs
        x = np.random.default_rng(0).standard_normal(session.package.goldens()[0]["x"].shape).astype(np.float32)
        expected = session.run({entry.name: x})
    served = serve(f"digits={exported}", "--in-process")
    address = served.http if protocol == "http" else served.grpc
    assert address is not None
    with Client(address, protocol=protocol, retry=QUICK) as client:
        for name, array in client.infer("digits", {entry.name: x}, version="1").items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6)
        with pytest.raises(Exception, match="no model"):
            client.infer("none", {entry.name: x})


@pytest.fixture
def moody() -> Iterator[tuple[str, list[int]]]:
    """A server that drops the connection, answers 500, answers 503, then answers correctly."""
    seen: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(1)
            if len(seen) == 1:
                self.close_connection = True
                return
            good = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[7.0]}]}'
            status, body = {2: (500, b'{"error":"x"}'), 3: (503, b'{"error":"x"}')}.get(len(seen), (200, good))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()
    thread.join()


def test_resets_500_and_503_are_retried(moody: tuple[str, list[int]]) -> None:
    pytest.importorskip("tritonclient.http")
    address, seen = moody
    with Client(address, retry=QUICK) as client:
        assert client.infer("m", {"x": np.ones(1, np.float32)})["y"].tolist() == [7.0]
    assert len(seen) == 4
