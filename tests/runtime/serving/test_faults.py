"""Models that raise, hang and return NaN; workers that die; clients that are slow, malformed or disconnected."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.files import sha256
from tests.runtime.serving.conftest import Running, ask, json_body

INFER = "/v2/models/trouble/infer"
GOOD = [[2.0, 1.0, 0.0]]


@pytest.fixture(scope="module")
def served(serve: Callable[..., Running], trouble: Path) -> Running:
    return serve(trouble, "--backend", "onnxruntime", "--run-s", 2, "--deadline-s", 20, "--receive-s", 0.4)


def answer_of(row: list[float]) -> float:
    return float(np.log(row[0])) + row[1]


def worker_pids(running: Running) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(running.process.pid)], capture_output=True, text=True).stdout
    return [int(word) for word in found.split()]


def good(running: Running) -> bool:
    answer = ask(running.http, INFER, json_body(GOOD))
    return answer.status == 200 and abs(answer.tensor("y").item() - answer_of(GOOD[0])) < 1e-5


def test_a_model_that_raises(served: Running) -> None:
    answer = ask(served.http, INFER, json_body([[2, 9, 0]]))
    assert answer.status == 500 and "the model failed" in answer.error and "out of" in answer.error
    assert good(served)


def test_nan_outputs_need_binary_data(served: Running) -> None:
    for value in (0.0, -1.0):
        body = json_body([[value, 1, 0]])
        assert ask(served.http, INFER, body).status == 406
        binary = json.loads(body) | {"parameters": {"binary_data_output": True}}
        answer = ask(served.http, INFER, json.dumps(binary).encode())
        length = int(answer.headers["inference-header-content-length"])
        assert not np.isfinite(np.frombuffer(answer.body[length:], np.float32)).any()
    assert good(served)


def test_a_model_that_hangs(served: Running) -> None:
    before = len(served.events("worker"))
    hang = [[2, 1, 1e12]]
    begin = time.monotonic()
    late = ask(served.http, INFER, json_body(hang, parameters={"timeout": 300_000}))
    assert late.status == 504 and time.monotonic() - begin < 5
    assert good(served)  # behind the hanging run: its worker is killed, the next one answers
    assert len(served.events("worker")) > before
    stubborn = ask(served.http, INFER, json_body(hang))
    assert stubborn.status == 503 and "died twice" in stubborn.error
    assert good(served)


def test_no_answer_is_lost_when_a_worker_is_killed(served: Running) -> None:
    stop, failures, answered = threading.Event(), [], []

    def client(seed: int) -> None:
        rng = np.random.default_rng(seed)
        connection = http.client.HTTPConnection(served.http, timeout=30)
        while not stop.is_set():
            row = [float(rng.uniform(0.5, 9)), float(rng.integers(0, 4)), 0.0]
            connection.request("POST", INFER, json_body([row]))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                failures.append((response.status, body))
            elif abs(json.loads(body)["outputs"][0]["data"][0] - answer_of(row)) > 1e-4:
                failures.append((row, body))
            else:
                answered.append(1)
        connection.close()

    with ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(client, seed) for seed in range(8)]
        for _ in range(3):
            time.sleep(0.4)
            before = len(answered)
            for pid in worker_pids(served):
                os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + 20
            while len(answered) <= before + 8 and time.monotonic() < end:
                time.sleep(0.02)
        stop.set()
        for future in clients:
            future.result()
    assert not failures and len(answered) > 100


def test_requests_of_disconnected_clients_are_not_computed(served: Running) -> None:
    def stats() -> Any:
        (found,) = json.loads(ask(served.http, "/v2/models/trouble/stats").body)["model_stats"]
        return found

    before, pids = stats()["inference_count"], worker_pids(served)
    with ThreadPoolExecutor(2) as threads:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            stay = [threads.submit(good, served) for _ in range(2)]
            wait_for_metric(served, 'queue_length{model="trouble",version="1"} 1.0')  # so the other one runs
            send_and_leave(served, times=5)
            wait_for_metric(served, 'outcome="client_left",protocol="http",version="1"} 5.0')
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert all(answer.result() for answer in stay)
    assert stats()["inference_count"] == before + 2


def wait_for_metric(running: Running, line: str) -> None:
    """Until /metrics has this text; at most 10 s."""
    end = time.monotonic() + 10
    while line not in (text := ask(running.http, "/metrics").body.decode()):
        assert time.monotonic() < end, text
        time.sleep(0.01)


def send_and_leave(running: Running, times: int) -> None:
    """Send a request and close the connection without waiting for the answer, so many times."""
    host, port = running.http.split(":")
    body = json_body([[2, 1, 0]])
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(body))
    for _ in range(times):
        with socket.create_connection((host, int(port))) as link:
            link.sendall(head + body)
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b"408"),
        (b"POST /v2/models/trouble/infer HT", b"408"),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"408"),
        (b"POST /v2/models/trouble/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b"408"),
        (b"GET /v2 HTTP/1.1\r\nX-Long: " + b"a" * 70_000, b"431"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_slow_and_malformed_connections_are_closed(served: Running, sent: bytes, status: bytes) -> None:
    host, port = served.http.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as link:
        link.sendall(sent)
        answer = b""
        while chunk := link.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert good(served)


def test_a_half_closed_connection_is_dropped(served: Running) -> None:
    host, port = served.http.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as link:
        link.sendall(b"POST /v2/models/trouble/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        link.shutdown(socket.SHUT_WR)
        assert link.recv(4096) == b""
    assert good(served)


def test_answers_of_many_clients_are_never_mixed(served: Running) -> None:
    def client(seed: int) -> int:
        rng = np.random.default_rng(seed)
        wrong = 0
        connection = http.client.HTTPConnection(served.http, timeout=30)
        for _ in range(40):
            rows = [[float(rng.uniform(0.5, 9)), float(rng.integers(0, 4)), 0.0] for _ in range(rng.integers(1, 5))]
            connection.request("POST", INFER, json_body(rows, id=str(seed)))
            document = json.loads(connection.getresponse().read())
            got = document["outputs"][0]["data"]
            wrong += document["id"] != str(seed) or not np.allclose(got, [answer_of(row) for row in rows], atol=1e-4)
        connection.close()
        return wrong

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(client, range(16))) == 0
    (found,) = json.loads(ask(served.http, "/v2/models/trouble/stats").body)["model_stats"]
    assert any(entry["batch_size"] > 4 for entry in found["batch_stats"]), "nothing was batched"


def test_requests_above_the_limit_are_refused(serve: Callable[..., Running], trouble: Path) -> None:
    running = serve(trouble, "--max-queue", 2, "--max-requests", 6, "--grpc-port", -1)
    slow = json_body([[2, 1, 2e5]])
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: ask(running.http, INFER, slow), range(12)))
    refused = [answer for answer in answers if answer.status != 200]
    assert refused and {answer.status for answer in refused} == {429}
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert good(running)


def test_sigterm_finishes_open_requests(serve: Callable[..., Running], trouble: Path) -> None:
    running = serve(trouble)
    idle = http.client.HTTPConnection(running.http, timeout=10)
    idle.request("GET", "/v2")
    idle.getresponse().read()
    with ThreadPoolExecutor(4) as threads:
        slow = [threads.submit(ask, running.http, INFER, json_body([[2, 1, 4e5]])) for _ in range(4)]
        time.sleep(0.2)
        running.process.send_signal(signal.SIGTERM)
        assert [future.result().status for future in slow] == [200] * 4
    assert running.process.wait(20) == 0
    assert running.events("draining")[0]["inside"] == 4 and running.events("stopped")
    assert "PASSED 4 requests answered" in running.log.read_text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(tuple(running.http.split(":")))


def test_a_package_with_wrong_outputs_is_not_served(trouble: Path, tmp_path: Path) -> None:
    pytest.importorskip("orjson")
    package = Path(shutil.copytree(trouble, tmp_path / "wrong"))
    np.savez(
        package / "goldens.npz",
        **{"input.x": np.array([[2, 1, 2]], np.float32), "output.y": np.array([[9]], np.float32)},
    )
    document = json.loads((package / "manifest.json").read_text())
    document["files"]["goldens.npz"] = sha256(package / "goldens.npz")
    (package / "manifest.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "rectexport", "serve", package, "--port", "0", "--grpc-port", "0"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 1 and "disagrees with the source model" in ran.stderr and "FAILED" in ran.stderr


def test_requests_are_not_batched_if_rows_depend_on_each_other(
    serve: Callable[..., Running], trouble: Path, tmp_path: Path
) -> None:
    """A model that centres its batch: every row would get another output than alone."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    package = Path(shutil.copytree(trouble, tmp_path / "mixing"))
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["away"]),
        helper.make_node("ReduceMax", ["away", "last"], ["y"], keepdims=1),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", k]) for n, k in (("x", 3), ("y", 1))]
    constants = [numpy_helper.from_array(np.array([axis]), name) for axis, name in ((0, "axes"), (1, "last"))]
    graph = helper.make_graph(nodes, "mixing", values[:1], values[1:], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), package / "model.onnx"
    )
    x = np.array([[1, 2, 3], [6, 5, 4]], np.float32)
    np.savez(package / "goldens.npz", **{"input.x": x, "output.y": (x - x.mean(0)).max(1, keepdims=True)})
    document = json.loads((package / "manifest.json").read_text())
    document["files"] = {name: sha256(package / name) for name in document["files"]}
    (package / "manifest.json").write_text(json.dumps(document))
    running = serve(package, "--grpc-port", -1)
    loaded = running.events("loaded")[0]
    assert loaded["max_batch"] == 0 and "depends on the rows beside it" in loaded["remark"]
    assert ask(running.http, "/v2/models/mixing/infer", json_body(x)).tensor("y").ravel().tolist() == [-0.5, 2.5]


def test_calls_that_the_server_s_end_cuts_off_say_unavailable(serve: Callable[..., Running], trouble: Path) -> None:
    grpc = pytest.importorskip("grpc")
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    running = serve(trouble, "--drain-s", 1)
    with grpc.insecure_channel(running.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        message = service_pb2.ModelInferRequest(model_name="trouble")
        message.inputs.add(name="x", datatype="FP32", shape=[1, 3]).contents.fp32_contents.extend([2, 1, 1e12])
        idle = stub.ModelStreamInfer(iter(threading.Event().wait, None))  # a client that sends nothing
        hanging = stub.ModelInfer.future(message)
        slow = pool_of_one.submit(ask, running.http, "/v2/models/trouble/infer", json_body([[2, 1, 1e12]]))
        time.sleep(0.5)
        running.process.terminate()
        for call in (lambda: next(idle), hanging.result):
            with pytest.raises(grpc.RpcError) as refused:
                call()
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert slow.result(20).status == 503
    assert running.process.wait(20) == 0


pool_of_one = ThreadPoolExecutor(1)
