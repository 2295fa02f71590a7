"""A closed-loop load generator: each connection sends its next request after the response to the previous one.

    python -m benchmarks.load KIND ADDRESS MODEL PACKAGE CONNECTIONS SECONDS

KIND is json, binary or grpc; with one connection also health, which runs no inference. Requests are prepared bytes of
several different inputs, so that the client takes little time from the server on the same machine. It prints one line
of JSON. Every response must have the right status and size; the tests compare responses with the session's outputs.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import uvloop

from rectexport.runtime.package.folder import Package

INPUTS = 4
HEALTH = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
WARM_UP_SECONDS = 0.8


@dataclass
class Samples:
    """Milliseconds of each response between `start` and `end`; `failed` counts responses that are errors."""

    start: float
    end: float
    ms: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, began: float, good: bool) -> bool:
        """Record one response; returns whether to continue."""
        now = time.perf_counter()
        if self.start <= now <= self.end:
            self.ms.append((now - began) * 1e3)
        self.failed += not good
        return now < self.end


def feeds_of(package: Path) -> list[dict[str, Any]]:
    """Different inputs with the smallest batch that the package takes, otherwise of the shape of its goldens."""
    opened = Package.open(package)
    goldens, _ = opened.goldens()
    ranges = {entry.name: entry.range for entry in opened.manifest.inputs}
    rows = {name: 1 if found is None else found.min[0] for name, found in ranges.items()}
    rng = np.random.default_rng(0)
    return [
        {
            name: rng.standard_normal((rows[name], *array.shape[1:])).astype(array.dtype)
            for name, array in goldens.items()
        }
        for _ in range(INPUTS)
    ]


def http_body(feeds: dict[str, Any], binary: bool) -> tuple[bytes, bytes]:
    """Body and headers of one infer request."""
    entries = []
    for name, array in feeds.items():
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": "FP32"}
        if binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            entry["data"] = array.ravel().tolist()
        entries.append(entry)
    if not binary:
        return json.dumps({"inputs": entries}).encode(), b""
    head = json.dumps({"inputs": entries, "parameters": {"binary_data_output": True}}).encode()
    tensors = b"".join(array.tobytes() for array in feeds.values())
    return head + tensors, b"Inference-Header-Content-Length: %d\r\n" % len(head)


def http_message(path: str, feeds: dict[str, Any], binary: bool) -> bytes:
    """The bytes of the whole HTTP request."""
    body, headers = http_body(feeds, binary)
    return b"POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (path.encode(), headers, len(body)) + body


def body_size(head: bytes) -> int:
    """The number in a response's Content-Length, not that in Inference-Header-Content-Length."""
    lower = head.lower() + b"\r\n"
    at = lower.index(b"\r\ncontent-length: ") + 18
    return int(lower[at : lower.index(b"\r", at)])


@final
class HttpConnection(asyncio.Protocol):
    """One keep-alive connection; parses a response only to find its end."""

    def __init__(self, messages: list[bytes], samples: Samples, done: asyncio.Future[None], turn: int) -> None:
        self._messages, self._samples, self._done, self._turn = messages, samples, done, turn
        self._data = b""
        self._size: int | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._turn += 1
        self._data, self._size = b"", None
        self._began = time.perf_counter()
        self._transport.write(self._messages[self._turn % len(self._messages)])

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._size is None:
            head = self._data.find(b"\r\n\r\n")
            if head < 0:
                return
            self._size = head + 4 + body_size(self._data[:head])
        if len(self._data) < self._size:
            return
        if self._samples.add(self._began, self._data.startswith(b"HTTP/1.1 200")):
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def http_load(
    address: str, model: str, package: Path, connections: int, seconds: float, *, binary: bool
) -> Samples:
    """Load over HTTP for `seconds`, after a warm-up that is not counted."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    messages = http_messages(model, package, "binary" if binary else "json")
    start = time.perf_counter() + WARM_UP_SECONDS
    samples = Samples(start, start + seconds)
    ends: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    for turn, end in enumerate(ends):
        await loop.create_connection(lambda e=end, t=turn: HttpConnection(messages, samples, e, t), host, int(port))  # type: ignore[misc]
    await asyncio.gather(*ends)
    return samples


def http_messages(model: str, package: Path, kind: str) -> list[bytes]:
    """Inference requests with different inputs."""
    path = f"/v2/models/{model}/infer"
    return [http_message(path, feeds, kind == "binary") for feeds in feeds_of(package)]


def one_connection(address: str, messages: list[bytes], seconds: float) -> Samples:
    """The same over one connection with a blocking socket, since an event loop would add its own time."""
    host, _, port = address.rpartition(":")
    start = time.perf_counter() + WARM_UP_SECONDS
    samples = Samples(start, start + seconds)
    with socket.create_connection((host, int(port))) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        turn, going = 0, True
        while going:
            turn += 1
            began = time.perf_counter()
            link.sendall(messages[turn % len(messages)])
            going = samples.add(began, _read_answer(link))
    return samples


def _read_answer(link: socket.socket) -> bool:
    """Read one response to its end; returns whether it has status 200."""
    data = link.recv(1 << 16)
    while (head := data.find(b"\r\n\r\n")) < 0:
        data += link.recv(1 << 16)
    size = head + 4 + body_size(data[:head])
    while len(data) < size:
        data += link.recv(1 << 16)
    return data.startswith(b"HTTP/1.1 200")


async def grpc_load(address: str, model: str, package: Path, connections: int, seconds: float) -> Samples:
    """Load over gRPC, with a separate channel for each connection."""
    import grpc
    from tritonclient.grpc import service_pb2

    messages = []
    for feeds in feeds_of(package):
        message = service_pb2.ModelInferRequest(model_name=model)
        for name, array in feeds.items():
            message.inputs.add(name=name, datatype="FP32", shape=array.shape)
            message.raw_input_contents.append(array.tobytes())
        messages.append(message.SerializeToString())
    start = time.perf_counter() + WARM_UP_SECONDS
    samples = Samples(start, start + seconds)

    async def connection(turn: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            going = True
            while going:
                turn += 1
                began = time.perf_counter()
                try:
                    good = len(await infer(messages[turn % len(messages)])) > 0
                except grpc.aio.AioRpcError:
                    good = False
                going = samples.add(began, good)

    await asyncio.gather(*(connection(turn) for turn in range(connections)))
    return samples


async def load(kind: str, address: str, model: str, package: Path, connections: int, seconds: float) -> Samples:
    """Load of the given kind."""
    if kind == "grpc":
        return await grpc_load(address, model, package, connections, seconds)
    if connections == 1:
        messages = [HEALTH] if kind == "health" else http_messages(model, package, kind)
        return one_connection(address, messages, seconds)
    return await http_load(address, model, package, connections, seconds, binary=kind == "binary")


def summary(samples: Samples, seconds: float) -> dict[str, float]:
    """Requests a second, percentiles in milliseconds, failures."""
    p50, p90, p99 = np.percentile(samples.ms, (50, 90, 99)) if samples.ms else (np.nan,) * 3
    figures = {"rate": len(samples.ms) / seconds, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}
    return {**{name: round(float(value), 4) for name, value in figures.items()}, "failed": samples.failed}


def main() -> None:
    """Run the load, then print the figures."""
    kind, address, model, package, connections, seconds = sys.argv[1:]
    loop = uvloop.new_event_loop()
    samples = loop.run_until_complete(load(kind, address, model, Path(package), int(connections), float(seconds)))
    print(json.dumps(summary(samples, float(seconds))))


if __name__ == "__main__":
    main()
