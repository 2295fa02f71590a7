"""`serve --otel` sends to a collector as its variables say; without the packages it says what to install."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rectexport.runtime.errors import MissingDependency
from rectexport.runtime.serving.telemetry.exporters import open_telemetry
from tests.runtime.serving.conftest import Running, ask, json_body

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingDependency, match=r"opentelemetry.*pip install 'rectexport\[otel\]'"):
        open_telemetry()


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Takes what is posted to it: its address, and path -> the last body."""
    found: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found[self.path] = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *words: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", found
    server.shutdown()
    server.server_close()


def test_spans_and_metrics_reach_a_collector(
    serve: Callable[..., Running],
    trouble: Path,
    collector: tuple[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    address, found = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "vision")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    running = serve(trouble, "--grpc-port", -1, "--otel")
    answer = ask(
        running.http, "/v2/models/trouble/infer", json_body([[2, 1, 2]]), traceparent=f"00-{TRACE}-{'1' * 16}-01"
    )
    assert answer.status == 200
    end = time.monotonic() + 20
    while time.monotonic() < end and not (
        b"run trouble" in found.get("/v1/traces", b"") and b"rectexport.run.duration" in found.get("/v1/metrics", b"")
    ):
        time.sleep(0.05)
    assert "/v1/traces" in found, running.log.read_text()
    assert bytes.fromhex(TRACE) in found["/v1/traces"] and b"vision" in found["/v1/traces"]
    assert b"rectexport.run.duration" in found["/v1/metrics"]
