"""Measure serving under load on loopback; writes the figures and plots of docs/serving.md.

    python -m benchmarks.serving                all parts, in about 15 minutes, on an idle machine
    python -m benchmarks.serving --only tiny    one part; the figures of the others are kept

The client runs on the same machine and takes a part of its cores. The part ray needs the extra `ray`; the tritonserver
of `make test-triton` is measured beside ours where it is installed (`make .venv-triton/.stamp`).
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import serving_report
from benchmarks.common import DIGITS, ROOT, THREADS, child, machine, rectified_resnet
from benchmarks.load import feeds_of, http_message
from benchmarks.tritonserver.server import absent, stand_in, tritonserver
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.triton.config import Deployment
from rectexport.runtime.serving.triton.repository import write_model

PACKAGES = ROOT / "out" / "serving-bench"
RESULTS = ROOT / "docs" / "serving.json"
PARTS = ("latency", "throughput", "tiny", "resnet", "first", "shadow", "ray")
ROUNDS = 8
STARTS = 5
PAUSE_SECONDS = 0.3
#: The backend that `auto` chooses on a CPU, and the other one.
BACKENDS = ("openvino", "onnxruntime")
START_SECONDS = 120.0


@dataclass(frozen=True)
class Net:
    """A network and its load: hosts and protocols, numbers of connections, and seconds of each measurement."""

    name: str
    shape: tuple[int, ...]
    threads: int
    rows: tuple[int, ...]
    series: tuple[tuple[str, str], ...]
    seconds: dict[int, float]

    @property
    def package(self) -> Path:
        """The folder of its package."""
        return PACKAGES / self.name


#: Host -> options of `rectexport serve`.
HOSTS = {"workers": (), "no batching": ("--max-batch", "1"), "in process": ("--in-process",)}
TRITON = "tritonserver"
KINDS = ("json", "binary", "grpc")
ALL = tuple((host, kind) for host in HOSTS for kind in KINDS)
SOME = (*(("workers", kind) for kind in KINDS), ("no batching", "binary"), ("in process", "binary"))
TINY = Net("tiny", (1, 8, 8), 1, (1, 4, 16, 64), ALL, dict.fromkeys((1, 4, 16, 64), 1.5))
#: Batches of 32 take most of a second, so it is measured for longer: a batch cut off at the end then matters little.
RESNET = Net("resnet50", (3, 224, 224), THREADS, (1, 8, 32), SOME, {1: 4.0, 8: 4.0, 32: 10.0})
RAW_SECONDS = 6.0


def main() -> None:
    """Measure the requested parts, then write the page from all stored figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure these parts alone")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in () if options.report else options.only or PARTS:
        prepare(TINY, *((RESNET,) if part in ("throughput", "resnet", "first", "shadow") else ()))
        document[part] = {"date": date.today().isoformat(), "machine": machine(), **measure(part)}
        text = json.dumps(document, indent=1).replace(f"{ROOT}/", "")  # a shadow's report names its package
        RESULTS.write_text(text + "\n", encoding="utf-8")
    serving_report.write(document, ROOT / "docs")


def measure(part: str) -> dict[str, Any]:
    """The figures of one part."""
    if part == "tiny":
        return under_load(TINY)
    if part == "resnet":
        return under_load(RESNET)
    if part == "throughput":
        return in_turn()
    if part == "latency":
        return one_by_one()
    if part == "first":
        return {"nets": {net.name: first_requests(net) for net in (TINY, RESNET)}}
    if part == "shadow":
        return {"nets": {net.name: with_shadow(net, connections) for net, connections in ((TINY, 64), (RESNET, 32))}}
    return under_ray(TINY)


def prepare(*nets: Net) -> None:
    """Export networks with a dynamic batch, unless their packages exist."""
    for net in nets:
        if not net.package.exists():
            _export(net)


def _export(net: Net) -> None:
    import torch

    import rectexport
    from rectexport.models.checkpoint import build, read_checkpoint

    model = build(read_checkpoint(DIGITS)).eval() if net is TINY else rectified_resnet()
    batch = torch.export.Dim("batch", max=net.rows[-1])
    rectexport.export(model, (torch.randn(2, *net.shape),), net.package, dynamic_shapes=({0: batch},))


def under_load(net: Net) -> dict[str, Any]:
    """Measure every host, protocol and number of connections, and the session alone before and after."""
    raw = [alone(net, *net.rows, seconds=RAW_SECONDS)]
    rows = []
    for host, options in HOSTS.items():
        with server(net, *options) as (web, rpc):
            for kind in (kind for where, kind in net.series if where == host):
                for connections in net.seconds:
                    rows.append({"host": host, "kind": kind, "connections": connections})
                    rows[-1].update(load(kind, rpc if kind == "grpc" else web, net, connections))
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    rows += under_triton(net)
    raw.append(alone(net, *net.rows, seconds=RAW_SECONDS))
    return {"raw": raw, "rows": rows}


def under_triton(net: Net) -> list[dict[str, Any]]:
    """The same load on a real tritonserver, whose Python backend runs ONNX Runtime; none where none is."""
    reason = absent()
    if reason:
        print(f"not measured: {TRITON}: {reason}", file=sys.stderr)
        return []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_model(ServedPackage("m", "1", net.package), scratch / "repository", Deployment(), net.rows[-1])
        with tritonserver(stand_in(scratch / "repository", scratch / "served", net.threads), scratch) as running:
            for kind in KINDS:
                for connections in net.seconds:
                    rows.append({"host": TRITON, "kind": kind, "connections": connections})
                    rows[-1].update(load(kind, running.grpc if kind == "grpc" else running.http, net, connections))
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def in_turn() -> dict[str, Any]:
    """Rates of RF-ResNet-50 for session and server in turn, so that other load on the machine affects both."""
    rounds = []
    with server(RESNET) as (web, _):
        for _ in range(ROUNDS):
            raw = alone(RESNET, 32, seconds=RAW_SECONDS)["32"]["rate"]
            rounds.append({"session": raw, "workers": load("binary", web, RESNET, 32)["rate"]})
            print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    return {"rounds": rounds}


def with_shadow(net: Net, connections: int) -> dict[str, Any]:
    """Rates with the package as its own shadow and without, in turn."""
    rounds = []
    with server(net) as (plain, _), server(net, "--shadow", str(net.package)) as (shadowed, _):
        for _ in range(ROUNDS):
            found = {
                "plain": load("binary", plain, net, connections)["rate"],
                "shadow": load("binary", shadowed, net, connections)["rate"],
            }
            rounds.append(found)
            print(net.name, json.dumps(found), file=sys.stderr, flush=True)
        with urllib.request.urlopen(f"http://{shadowed}/v2/models/m/shadow") as answer:
            report = json.load(answer)
    return {"connections": connections, "rounds": rounds, "report": report}


def one_by_one() -> dict[str, Any]:
    """Median milliseconds for one connection and the tiny network, in turn; also of a request without inference."""
    return {"rounds": {backend: _one_by_one(backend) for backend in BACKENDS}}


def _one_by_one(backend: str) -> list[dict[str, float]]:
    rounds = []
    words = ("--backend", backend)
    with server(TINY, *words) as (workers, _), server(TINY, *words, "--in-process") as (threads, _):
        for _ in range(ROUNDS):
            found = {
                "session": alone(TINY, 1, backend=backend)["1"]["p50_ms"],
                "paused": alone(TINY, 1, backend=backend, pause=1.0)["1"]["p50_ms"],
                "health": load("health", workers, TINY, 1)["p50_ms"],
                "workers": load("binary", workers, TINY, 1)["p50_ms"],
                "in process": load("binary", threads, TINY, 1)["p50_ms"],
            }
            rounds.append(found)
            print(backend, json.dumps(found), file=sys.stderr, flush=True)
    return rounds


def alone(net: Net, *rows: int, seconds: float = 1.0, backend: str = "auto", pause: float = 0.0) -> dict[str, Any]:
    """Figures of session.run without a server, by batch size; `pause` in milliseconds between two runs."""
    words = ("--backend", backend, "--threads", net.threads, "--seconds", seconds, "--pause-ms", pause)
    return child("serving_raw", str(net.package), *map(str, rows), *map(str, words))


def load(kind: str, address: str, net: Net, connections: int, model: str = "m") -> dict[str, Any]:
    """Figures of one load, generated by a process of its own."""
    return child("load", kind, address, model, str(net.package), str(connections), str(net.seconds[connections]))


@contextmanager
def server(net: Net, *options: str) -> Iterator[tuple[str, str]]:
    """Start a server; gives its addresses once it is ready."""
    command = [sys.executable, "-m", "rectexport", "serve", f"m={net.package}", "--port", "0", "--grpc-port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, "--threads", str(net.threads), *options], stderr=log, cwd=ROOT)
        try:
            yield _addresses(process, log)
        finally:
            process.terminate()
            process.wait(60)


def _addresses(process: subprocess.Popen[bytes], log: Any) -> tuple[str, str]:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        log.seek(0)
        for line in log.read().splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("event") == "serving":
                return entry["http"], entry["grpc"]
        time.sleep(0.02)
    raise SystemExit(f"the server did not start: {log.read()}")


def first_requests(net: Net) -> dict[str, list[list[float]]]:
    """Milliseconds of the first ten requests after each of several starts, and of a later connection after a pause."""
    found: dict[str, list[list[float]]] = {"after the start": [], "after a pause": []}
    for _ in range(STARTS):
        with server(net) as (web, _):
            for name in found:
                found[name].append(_ten_requests(net, web))
                time.sleep(PAUSE_SECONDS)
    return found


def _ten_requests(net: Net, web: str) -> list[float]:
    messages = [http_message("/v2/models/m/infer", feeds, True) for feeds in feeds_of(net.package)]
    connection = http.client.HTTPConnection(web)
    connection.connect()
    times = []
    for turn in range(10):
        begin = time.perf_counter()
        connection.sock.sendall(messages[turn % len(messages)])
        response = http.client.HTTPResponse(connection.sock)
        response.begin()
        response.read()
        times.append((time.perf_counter() - begin) * 1e3)
    connection.close()
    return times


def under_ray(net: Net) -> dict[str, Any]:
    """The same load on Ray Serve, through its default proxy and through HAProxy."""
    from benchmarks.serving_ray import ray_server

    rows = []
    for host, fast in (("Ray, default proxy", False), ("Ray, HAProxy", True)):
        with ray_server(net.package, fast) as web:
            for connections in net.seconds:
                rows.append({"host": host, "kind": "binary", "connections": connections})
                rows[-1].update(load("binary", web, net, connections))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {"rows": rows}


if __name__ == "__main__":
    main()
