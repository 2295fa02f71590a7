"""serve, triton and ray-config: what they refuse before anything starts, and what they write."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.cli.commands.serve import parse_replicas
from rectexport.runtime.base.files import sha256
from rectexport.runtime.errors import UsageError

for library in ("orjson", "prometheus_client", "tritonclient.grpc", "uvicorn", "yaml"):
    pytest.importorskip(library)

Command = Callable[..., Any]


@pytest.fixture
def package(folder: Path) -> Path:
    """A package by its manifest and files, with a model that is none."""
    package = folder / "net"
    package.mkdir()
    for name in ("model.onnx", "goldens.npz"):
        (package / name).write_bytes(b"no such thing")
    bounds = {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}
    document = {
        "format": "rectexport-package",
        "version": 1,
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["n", 3], "range": bounds}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["n", 2]}],
        "tolerances": {"relative_l2": 1e-5},
        "files": {"model.onnx": "0" * 64, "goldens.npz": "1" * 64},
    }
    (package / "manifest.json").write_text(json.dumps(document))
    return package


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing"], 1, "nothing: no such package or model repository"),
        (["net", "--host", "0.0.0.0"], 2, "--host 0.0.0.0: anyone who reaches this address"),
        (["net", "--token-file", "none"], 1, "none: no token can be read"),
        (["net", "--token-file", "short"], 1, "a token has at least 16"),
        (["net", "--token-file", "pipe"], 1, "pipe: no token can be read: pipe: is a pipe"),
        (["net", "--token-file", "long"], 1, "long: no token can be read: long: more than 16384 bytes"),
        (["a b=net"], 2, "'a b': a model's name has"),
        (["a/0=net"], 2, "version '0'"),
        (["a/1=net", "a/1=net"], 2, "given twice"),
        (["net", "--ray", "--replicas", "3..1"], 2, "expected 1 <= smallest <= largest"),
        (["net", "--ray", "--replicas", "few"], 2, "expected a number, or two as in 2..8"),
        (["net"], 1, "sha256"),
        (["net", "--shadow", "nothing"], 1, "nothing: no such package or model repository"),
        (["net", "--shadow", "net", "--ray"], 2, "--shadow with --ray"),
        (["net", "--otel", "--ray"], 2, "--otel with --ray"),
    ],
)
def test_serve_refuses(command: Command, package: Path, words: list[str], code: int, said: str) -> None:
    Path("short").write_text("secret")
    os.mkfifo("pipe")
    Path("long").write_text("secret" * 10_000)
    ran = command("serve", *words, "--port", 0, "--grpc-port", 0, "--json")
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert ran.last.startswith("FAILED after")
    document = json.loads(ran.out)
    assert document["passed"] is False and document["exit_code"] == code


def test_a_taken_port_is_named(command: Command, package: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = command("serve", package, "--port", taken.getsockname()[1])
    assert ran.code == 1 and "cannot listen here" in ran.err and "choose another --port" in ran.err


def test_triton_refuses_and_writes_nothing(command: Command, package: Path) -> None:
    for words, code, said in (
        ((package, "repo"), 1, "sha256"),
        ((package,), 2, "expected PACKAGE REPOSITORY"),
        ((package, "repo", "--check"), 2, "expected REPOSITORY behind --check"),
        (("repo", "--check"), 1, "repo: no such folder"),
        (("repo", "--check", "--output", "topk=2"), 2, "--check writes nothing"),
        ((package, "repo", "--image-input", "x:uint8"), 2, "--image-input x: x is float32 ['n', 3], rgb give"),
        ((package, "repo", "--output", "topk=9"), 2, "--output topk: y has 2 classes, expected at least 9"),
    ):
        ran = command("triton", *words)
        assert (ran.code, said in ran.err) == (code, True), ran.err
    assert not Path("repo").exists()


@pytest.fixture
def identity(folder: Path) -> Path:
    """A package whose model gives x [n, 3] back."""
    onnx, numpy = pytest.importorskip("onnx"), pytest.importorskip("numpy")
    package = folder / "same"
    package.mkdir()
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "same", [x], [y])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), package / "model.onnx")
    rows = numpy.ones((2, 3), numpy.float32)
    numpy.savez(package / "goldens.npz", **{"input.x": rows, "output.y": rows})
    bounds = {"min": [1, 3], "opt": [2, 3], "max": [8, 3]}
    document = {
        "format": "rectexport-package",
        "version": 2,
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["n", 3], "range": bounds}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["n", 3]}],
        "tolerances": {"relative_l2": 1e-5},
        "rows": "independent",
        "files": {name: sha256(package / name) for name in ("model.onnx", "goldens.npz")},
    }
    (package / "manifest.json").write_text(json.dumps(document))
    return package


def test_triton_keeps_what_is_not_asked_for_again(command: Command, identity: Path) -> None:
    assert command("triton", identity, "repo", "--instances", 2, "--max-batch", 4).code == 0
    for words, wanted in (((), ("count: 2", "max_batch_size: 4")), (("--instances", 3), ("count: 3", "size: 4"))):
        assert command("triton", f"same/2={identity}", "repo", *words).code == 0
        text = Path("repo/same/config.pbtxt").read_text()
        assert all(word in text for word in wanted), text
    ran = command("triton", identity, identity)
    assert ran.code == 1 and "is a package, not a model repository" in ran.err


def test_ray_config(command: Command, package: Path) -> None:
    import yaml

    ran = command("ray-config", package, "-o", "serve.yaml", "--replicas", "2..4", "--max-batch", 2)
    assert ran.code == 0 and ran.last.startswith("PASSED")
    arguments = yaml.safe_load(Path("serve.yaml").read_text())["applications"][0]["args"]
    assert arguments == {"packages": [f"net/1={package.resolve()}"], "replicas": [2, 4], "max_batch": 2}
    assert command("ray-config", package, "--host", "0.0.0.0", "-o", "other.yaml").code == 2
    shutil.rmtree(package)
    ran = command("ray-config", package, "-o", "other.yaml")
    assert ran.code == 1 and "no such package" in ran.err and not Path("other.yaml").exists()


def test_replicas() -> None:
    assert parse_replicas("2..8") == (2, 8) and parse_replicas("3") == (3, 3)
    for bad in ("", "..", "1..", "a..b", "-1..2"):
        with pytest.raises(UsageError):
            parse_replicas(bad)
