"""A package to report on, made from documents only, without an engine or the exporter."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Document = dict[str, Any]


def distance(scale: float, top1: float | None = None) -> Document:
    """Distances of this order of magnitude."""
    return {"max_abs": 3.25 * scale, "relative_l2": 1.125 * scale, "cosine": 0.9999999, "top1": top1}


def parity_document(layers: int = 4, shapes: int = 2) -> Document:
    """A parity document in which all numbers differ; the last layer's corner is the worst."""

    def layer(case: int, index: int) -> Document:
        regions = ("corner", "edge", "interior") if index else ("interior",)
        size = 1e-7 * (1 + index / layers + case / 10)
        return {
            "tensor": f"tensor_{index}",
            "layer": f"stage{index * 3 // layers}.{index}.conv",
            **distance(size),
            "regions": {name: distance(size * (3 - place)) for place, name in enumerate(regions)},
        }

    cases = [
        {
            "case": ("opt", "min", "max", "odd", "odder")[case],
            "shapes": {"x": [1 + case, 3, 8, 8 + case]},
            "outputs": {"logits": distance(1e-7 * (case + 1), 1.0), "boxes": distance(2e-7 * (case + 1))},
            "layers": [layer(case, index) for index in range(layers)],
            "failures": [],
        }
        for case in range(shapes)
    ]
    facts = {"passed": True, "reference": "PyTorch, float64", "backend": "onnxruntime CPU"}
    return {**facts, "tolerances": {"relative_l2": 1e-5, "atol:logits": 0.001}, "cases": cases}


def checks_document() -> list[Document]:
    """One check for each kind of result."""
    outputs = {"logits": distance(2e-8), "boxes": distance(4e-8)}
    whole = {"check": "row order", "at": "opt", "skipped": None, "bit_equal": True, "outputs": outputs, "failures": []}
    return [
        whole,
        {**whole, "check": "batch size", "bit_equal": False},
        {**whole, "check": "second run", "skipped": "one row", "bit_equal": None, "outputs": {}},
        {**whole, "check": "rebuilt", "failures": ["logits: off"]},
    ]


def node(op: str, inputs: list[str], output: str, *constants: list[int]) -> Document:
    """A node of an excerpt."""
    return {"op": op, "name": f"node_{output}", "inputs": inputs, "outputs": [output], "constants": list(constants)}


def rewrites_document() -> Document:
    """Rectification folded at 7 places, one of them drawn."""
    before = [node("rectexport.Rectify", ["y", "x"], "z", [16])]
    after = [node("Add", ["scaled"], "z", [1, 16, 1, 1]), node("Mul", ["y"], "scaled", [1, 1, 8, 8])]
    example = {
        "tensor": "z",
        "count": 7,
        "before": {"nodes": before, "more": 0},
        "after": {"nodes": after, "more": 3},
    }
    return {
        "format": "rectexport-rewrites",
        "version": 1,
        "nodes": {"before": {"Conv": 9, "rectexport.Rectify": 7}, "after": {"Conv": 9, "Mul": 7, "Add": 7}},
        "parameters": 25557032,
        "constants": {"before": 25557100, "after": 25557900},
        "passes": [{"name": "rectify_fold", "delta": {"Mul": 7, "Add": 7}, "kinds": 2, "examples": [example]}],
    }


def latency_document() -> Document:
    """Two contestants at two batch sizes."""

    def entry(name: str, batch: int, median: float) -> Document:
        samples = [median * (0.95 + index % 20 / 200) for index in range(200)]
        return {
            "name": name,
            "backend": "onnxruntime",
            "batch": batch,
            "shape": {"x": [batch, 3, 8, 8]},
            "median_ms": median,
            "p50_ms": median,
            "p90_ms": median * 1.04,
            "p99_ms": median * 1.05,
            "throughput": 1000 * batch / median,
            "rounds_ms": [median],
            "samples_ms": samples,
        }

    ratio = {"ratio": 1.0625, "low": 1.03125, "high": 1.09375, "verdict": "slower"}
    torch = {"name": "net", "backend": "onnxruntime", "base": "net.pt", "base_backend": "torch", "batch": 1}
    torch |= {"ratio": 0.25, "low": 0.2, "high": 0.5, "verdict": "faster"}
    return {
        "passed": True,
        "package": "net",
        "machine": {"cpu": "A CPU", "gpus": [], "load": {"before": [0.5, 1.25]}},
        "versions": {"onnxruntime": "1.31.1"},
        "settings": {"threads": 2},
        "contestants": [entry("net", 1, 31.25), entry("twin", 1, 29.5), entry("net", 8, 250.0)],
        "warnings": ["other programs were running"],
        "comparisons": [{"name": "net", "base": "twin", "batch": 1, **ratio}, torch],
    }


def plan_document() -> Document:
    """The manifest's entry for a TensorRT plan."""
    return {
        "file": "net-a10-fp16.plan",
        "gpu": "NVIDIA A10",
        "tensorrt": "10.13.0",
        "precision": "fp16",
        "trtexec": "trtexec --onnx=model.onnx --fp16",
    }


def int8_document() -> Document:
    """The manifest's entry `int8`: a target that was run and timed, and one that was not."""
    tensors = {"x": {"scale": 0.0078125, "zero_point": 3, "dtype": "uint8", "range": [-0.5, 1.5]}}
    by_channel = {"channels": {"scale": [0.01, 0.02, 0.03], "low": [0.0, -1.0, 0.5]}}
    engine = {
        "snr_db": 40.25,
        "own_semantics_snr_db": "Infinity",
        "agreement": 0.995,
        "flips": [{}, {}],
        "accuracy": {"float": 99.5, "int8": 99.25, "interval": [-0.64, 0.12]},
    }
    ran = {
        "file": "model.onnx",
        "layers": {"stem": "strips", "middle": "both"},
        "float": {"head": "it is 0.006% of the multiplications"},
        "weights": {"bits": 8, "reason": "products are exact"},
        "tensors": {**tensors, "y": {**tensors["x"], "range": [-1.0, 4.0], **by_channel}},
        "snr_db": 40.5,
        "regions": {"corner": 30.5},
        "noise": [{"tensor": "relu", "snr_db": 39.5, "regions": {"corner": 36.5, "interior": 41.5}}],
        "engines": {"onnxruntime": engine},
        "speed": {"ratio": 0.42, "interval": [0.4, 0.45], "int8_ms": 1.2, "float32_ms": 2.9},
    }
    other = {**{key: value for key, value in ran.items() if key != "speed"}, "file": "model.tensorrt.onnx"}
    return {
        "calibration": {"method": "mse", "data": "train.npz", "items": 256, "held_out": 64},
        "processor": {},
        "targets": {"onnxruntime": ran, "tensorrt": {**other, "engines": {}, "noise": []}},
    }


def origins_document() -> Document:
    """The nodes of `parity_document`'s tensors and one that a pass made, each in its module."""

    def node(op: str, output: str, module: str, made_by: str = "") -> Document:
        facts = {"inputs": [], "outputs": [output], "operations": 1, "weights": 0}
        return {"name": f"node_{output}", "op": op, "module": module, "pass": made_by, **facts}

    nodes = [node("Conv", f"tensor_{index}", f"stage{index * 3 // 4}.{index}.conv") for index in range(4)]
    nodes += [node("Mul", "z.scaled", "stage2.3.norm", "rectify_fold"), node("Gemm", "logits", ".")]
    models = {"model.onnx": {"nodes": nodes}}
    return {"format": "rectexport-origins", "version": 1, "models": models, "traced": {"z": "stage2.3.norm"}}


def profile_document() -> Document:
    """Two layers tied to nodes, one to a module alone."""

    def layer(name: str, module: str, ms: float, nodes: list[str]) -> Document:
        facts = {"passes": [], "share": ms / 10, "bound": "compute", "reorder": not nodes}
        return {"name": name, "module": module, "ms": ms, "nodes": nodes, **facts}

    layers = [
        layer("first", "stage0.0.conv", 2.0, ["node_tensor_0"]),
        layer("fused", "stage2.3.conv", 5.0, ["node_tensor_3", "node_z.scaled"]),
        layer("reorder", "stage2.3.conv", 1.0, []),
    ]
    facts = {"backend": "onnxruntime", "description": "ONNX Runtime", "batch": 2, "wall_ms": 10.0, "attributed": 0.8}
    memory = {"peak_bytes": {"run": 1e6}}
    return {**facts, "layers": layers, "outside_ms": {"framework": 2.0}, "memory": memory}


def evaluation_document() -> Document:
    """One engine beside PyTorch, with an item: a picture of 2 × 1 pixels and a vector."""
    answer = {"description": "ONNX Runtime", "shape": [10], "largest": [[7, 4.25], [1, -0.5]], "picture": None}
    picture = {"height": 2, "width": 1, "channels": 1, "pixels": base64.b64encode(b"\x00\xff").decode()}
    engine = {
        "description": "ONNX Runtime",
        "value": 98.5,
        "difference": {"value": -0.25, "low": -0.75, "high": 0.25},
        "agreement": 0.995,
        "worst": [{"item": "item 9", "told": "1 becomes 2, margin 0.5", "picture": picture}],
    }
    return {
        "data": "held-out.npz",
        "items": 1200,
        "metric": "top1",
        "unit": "points",
        "reference": {"description": "PyTorch", "value": 98.75},
        "engines": [engine],
        "sample": {"item": "item 0", "target": 7, "picture": picture, "answers": [answer]},
    }


def manifest_document() -> Document:
    """The manifest without its files."""
    bounds = {"min": [1, 3, 8, 8], "opt": [2, 3, 8, 8], "max": [4, 3, 8, 8]}
    refused = [{"node": f"node_{index}", "reason": "H, W dynamic"} for index in range(3)]
    return {
        "format": "rectexport-package",
        "version": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": {"trace": 1.5, "parity": 0.25},
        "source": {"kind": "torch.nn.Module", "description": "checkpoint of net", "file": "net.pt"},
        "options": {"opset": 18, "rectify": "auto", "target": "onnxruntime", "precision": "fp32", "guard": True},
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3, 8, 8], "range": bounds}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 10]}],
        "opset": {"ai.onnx": 18},
        "passes": [
            {"name": "rectify_fold", "fired": [f"node_{index}" for index in range(7)], "refused": refused},
            {"name": "inline", "fired": [], "refused": []},
        ],
        "tolerances": {"relative_l2": 1e-5},
        "versions": {"numpy": "2.4.6", "torch": None},
    }


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a package of these documents (None leaves one out) into a folder of its own; returns the folder."""

    def written(name: str = "net", **changed: Document | None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        documents: dict[str, Document | None] = {
            "manifest": manifest_document(),
            "parity": parity_document(),
            "rewrites": rewrites_document(),
            **changed,
        }
        manifest = documents.pop("manifest") or {}
        for kind, document in documents.items():
            if document is not None:
                (folder / f"{kind}.json").write_text(json.dumps(document), encoding="utf-8")
        (folder / "model.onnx").write_bytes(b"\0" * 2_500_000)
        (folder / "reproduce.sh").write_text('#!/bin/sh\n# Again.\nexec rectexport net.pt -o "${1:-again}"\n')
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        (folder / "manifest.json").write_text(json.dumps({**manifest, "files": files}), encoding="utf-8")
        return folder

    return written
