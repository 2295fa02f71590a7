"""The long counts: `make serve-faults` runs this file, which no other run collects; each test prints its figures.

kill -9 of workers under 50 connections of 2 000 requests each, and of Ray's replicas where Ray is installed; 1 000
malformed requests over each protocol; memory over 200 000 requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http.aio as client_library
from hypothesis import HealthCheck, given, settings

from benchmarks.load import http_load
from rectexport.runtime.api import load
from rectexport.runtime.serving.http.client import Retry
from tests.runtime.serving.conftest import Running, ask, json_body
from tests.runtime.serving.http import malformed

CONNECTIONS, REQUESTS, KILLS = 50, 2000, 10
MALFORMED = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
BACK_WITHIN, RAY_BACK_WITHIN = 2.0, 10.0


def resident_mb(pids: list[int]) -> float:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class UnderFire:
    """The clients' results while `strike` is called repeatedly, and the seconds until the next answer after each."""

    seen: Counter[str]
    gaps: list[float]


def under_fire(
    address: str,
    package: Path,
    strike: Callable[[], None],
    *,
    model: str,
    connections: int,
    requests: int,
    strikes: int,
    pause: float,
) -> UnderFire:
    """Distinct inputs over many connections; each answer is compared with the session's."""
    with load(package) as session:
        shape = session.package.goldens()[0]["x"].shape
        rng = np.random.default_rng(0)
        inputs = [rng.standard_normal(shape).astype(np.float32) for _ in range(64)]
        expected = [session(x) for x in inputs]
        output = session.package.manifest.outputs[0].name
    seen: Counter[str] = Counter()
    answered_at: list[float] = []
    retry = Retry(attempts=60, longest=0.5)

    async def connection(client: Any, seed: int) -> None:
        for turn in np.random.default_rng(seed).integers(0, len(inputs), requests):
            tensor = client_library.InferInput("x", inputs[turn].shape, "FP32")
            tensor.set_data_from_numpy(inputs[turn])
            try:
                result = await retry.awaited(lambda: client.infer(model, [tensor]))  # noqa: B023
            except Exception as error:
                seen[f"lost: {error}"] += 1
                continue
            good = np.allclose(result.as_numpy(output), expected[turn], rtol=1e-4, atol=1e-5)
            seen["right" if good else "wrong"] += 1
            answered_at.append(time.monotonic())

    async def striker() -> list[float]:
        gaps = []
        for _ in range(strikes):
            await asyncio.sleep(pause)
            strike()
            await asyncio.sleep(0.02)  # answers on their way
            struck = time.monotonic()
            while not answered_at or answered_at[-1] < struck:
                await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - struck)
        return gaps

    async def all_of_it() -> list[float]:
        # A session of its own for each connection, as clients on as many machines have.
        clients = [client_library.InferenceServerClient(address) for _ in range(connections)]
        striking = asyncio.ensure_future(striker())
        await asyncio.gather(*(connection(client, seed) for seed, client in enumerate(clients)))
        gaps = await striking
        for client in clients:
            await client.close()
        return gaps

    return UnderFire(seen, asyncio.run(all_of_it()))


def kill_9(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def children(running: Running) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(running.process.pid)], capture_output=True, text=True).stdout
    return [int(word) for word in found.split()]


def replicas() -> list[int]:
    found = subprocess.run(["pgrep", "-f", "^ray::.*rectexport"], capture_output=True, text=True).stdout
    return [int(word) for word in found.split()]


def test_kill_9_of_workers(serve: Callable[..., Running], exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = serve(f"digits={exported}")
    found = under_fire(
        served.http,
        exported,
        lambda: kill_9(children(served)),
        model="digits",
        connections=CONNECTIONS,
        requests=REQUESTS,
        strikes=KILLS,
        pause=1.5,
    )
    with capsys.disabled():
        print(f"\nkill -9 of workers: {dict(found.seen)}; back after {np.round(found.gaps, 2)} s")
    assert found.seen == {"right": CONNECTIONS * REQUESTS}
    assert len(served.events("worker")) >= KILLS and max(found.gaps) < BACK_WITHIN


def test_kill_9_of_ray_replicas(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every replica at once; Ray starts new ones."""
    pytest.importorskip("ray.serve")
    from benchmarks.serving_ray import MODEL, ray_server

    with ray_server(exported, False) as address:
        found = under_fire(
            address,
            exported,
            lambda: kill_9(replicas()),
            model=MODEL,
            connections=10,
            requests=500,
            strikes=2,
            pause=2.0,
        )
    with capsys.disabled():
        print(f"\nkill -9 of all Ray replicas: {dict(found.seen)}; back after {np.round(found.gaps, 2)} s")
    assert found.seen == {"right": 5000}
    assert max(found.gaps) < RAY_BACK_WITHIN


@pytest.fixture(scope="module")
def troubled(serve: Callable[..., Running], trouble: Path) -> Running:
    return serve(trouble, "--deadline-s", 10)


def untouched(running: Running) -> bool:
    """The same workers as at the start, which still answer."""
    good = ask(running.http, "/v2/models/trouble/infer", json_body([[2, 1, 0]])).status == 200
    return good and not running.events("worker") and not running.events("internal_error")


def test_malformed_over_http(troubled: Running, capsys: pytest.CaptureFixture[str]) -> None:
    seen: Counter[int] = Counter()

    @MALFORMED
    @given(request=malformed.http_requests())
    def send(request: Any) -> None:
        status = malformed.status_of(troubled.http, request)
        seen[status] += 1
        assert status < 500 or status == 504, request

    send()
    with capsys.disabled():
        print(f"\nmalformed over HTTP: {sum(seen.values())} requests, statuses {dict(sorted(seen.items()))}")
    assert untouched(troubled)


def test_malformed_over_grpc(troubled: Running, capsys: pytest.CaptureFixture[str]) -> None:
    seen: Counter[str] = Counter()

    @MALFORMED
    @given(data=malformed.grpc_requests())
    def send(data: bytes) -> None:
        code = malformed.grpc_code(troubled.grpc, data)
        seen[code] += 1
        assert code not in malformed.FAULTS, data

    send()
    with capsys.disabled():
        print(f"\nmalformed over gRPC: {sum(seen.values())} requests, codes {dict(sorted(seen.items()))}")
    assert untouched(troubled)


def test_memory_over_200_000_requests(
    serve: Callable[..., Running], exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = serve(f"digits={exported}")
    sizes: list[tuple[int, float]] = []
    answered = 0
    while answered < 200_000:
        samples = asyncio.run(http_load(served.http, "digits", exported, 32, 4.0, binary=len(sizes) % 2 == 0))
        assert not samples.failed
        (stats,) = json.loads(ask(served.http, "/v2/models/digits/stats").body)["model_stats"]
        answered = stats["inference_count"]
        sizes.append((answered, resident_mb([served.process.pid, *children(served)])))
    first = next(size for count, size in sizes if count >= 20_000)
    with capsys.disabled():
        print(f"\nmemory: {first:.1f} MiB after the first 20 000 requests, {sizes[-1][1]:.1f} MiB after {answered}")
    assert sizes[-1][1] < first + 5
