"""The fuzz targets. Each is a Hypothesis test that must hold for any input; the short runs of the test suite, the saved
corpus and the coverage-guided runs (run.py) share it.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import ModelProto, checker

from rectexport.runtime.base.shapes import check_range, parse_shape_flags, resolve_names
from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.manifest import read_manifest
from tests.fuzz.graphs import models
from tests.fuzz.requests import grpc_request, http_request
from tests.fuzz.strategies import changed, examples
from tests.places import DIGITS

RELATIVE_L2 = 1e-5

GOOD: dict[str, Any] = {
    "format": "rectexport-package",
    "version": 1,
    "inputs": [
        {"name": "x", "dtype": "float32", "shape": ["n", 3], "range": {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}}
    ],
    "outputs": [{"name": "y", "dtype": "float32", "shape": ["n", 10]}],
    "tolerances": {"relative_l2": 1e-5},
    "files": {"model.onnx": "0" * 64},
}


def ours(call: Callable[[], Any]) -> Any:
    """The call's result, or None for an error of ours with a message; anything else fails the test."""
    try:
        return call()
    except RectexportError as error:
        said = str(error).strip()
    assert said and len(said) < 10_000
    return None


@examples(100)
@given(st.one_of(st.binary(), st.text().map(str.encode), changed(GOOD).map(lambda value: json.dumps(value).encode())))
def manifest(content: bytes) -> None:
    """Any bytes are read as a manifest, or refused with a reason."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_bytes(content)
        found = ours(lambda: read_manifest(Path(folder)))
    if found is not None:
        assert found.inputs and "model.onnx" in found.files
        assert all(Path(name).name == name for name in found.files)


signs = st.text(st.sampled_from("x:X,[]0123456789 -.einputfloat32\x1b１\n"), max_size=40)
shape_texts = st.one_of(
    st.text(max_size=40), signs, st.from_regex(r"([a-z]:)?[0-9]{1,5}(x[0-9]{1,5}){0,4}(:float16)?", fullmatch=True)
)


@examples(300)
@given(st.lists(shape_texts, max_size=4))
def shape_flags(texts: list[str]) -> None:
    """A shape option is parsed into positive sizes, or refused."""

    def parse() -> None:
        flags = parse_shape_flags(texts, "--input")
        for flag in flags.values():
            assert flag.shape and min(flag.shape) >= 1
            check_range("x", flag.shape, flag.shape, flag.shape)
        resolve_names(flags, ["x"], "--input")

    ours(parse)


@examples(200)
@given(st.lists(st.one_of(st.text(max_size=30), signs, st.floats().map(str)), max_size=3))
def bounds(texts: list[str]) -> None:
    """A tolerance is a finite number that is not negative, or refused."""
    from rectexport.exporter.checking.tolerance import parse_bounds

    found = ours(lambda: parse_bounds(texts, "--atol"))
    assert found is None or all(0 <= value < float("inf") for value in found.values())


@examples(40)
@given(st.binary(max_size=400), st.integers(0, 1 << 20), st.booleans())
def checkpoint(noise: bytes, at: int, into: bool) -> None:
    """A checkpoint with bytes inserted or overwritten is loaded, or refused with a reason."""
    from rectexport.exporter.frontend.load import LoadOptions, load_source

    content = bytearray(_checkpoint())
    at %= len(content)
    content[at : at if into else at + len(noise)] = noise
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pt"
        path.write_bytes(content)
        ours(lambda: load_source(path, LoadOptions()))


@examples(20)
@given(
    changed(
        {
            "version": 1,
            "arch": "digits",
            "arguments": {"width": 1.0, "conv": "plain"},
            "tolerances": {"relative_l2": 1e-5},
        }
    )
)
def checkpoint_fields(fields: Any) -> None:
    """Any plain values in a checkpoint's fields."""
    import torch

    from rectexport.exporter.frontend.load import LoadOptions, load_source

    assume(isinstance(fields, dict))
    with zipfile.ZipFile(io.BytesIO(_checkpoint())):
        honest = torch.load(io.BytesIO(_checkpoint()), weights_only=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pt"
        torch.save({**honest, **fields}, path)
        ours(lambda: load_source(path, LoadOptions()))


@examples(25)
@given(models())
def passes(model: ModelProto) -> None:
    """Raising, folding, lowering and cleaning up keep what a graph computes, at two sizes."""
    from rectexport.exporter.graph.shapes import infer_shapes
    from rectexport.exporter.passes import PASSES, PassContext, select_passes
    from rectexport.exporter.passes.order import RAISE

    checker.check_model(model)
    expected = [_run(model, feeds) for feeds in _feeds(model)]
    assume(all(value is not None for value in expected))
    for target in ("onnxruntime", "portable"):
        current = model
        alone = [entry for entry in PASSES if entry.stage == RAISE]
        for entry in (*alone, *select_passes(PassContext(target))):
            rewritten, result = entry.run(infer_shapes(current) if entry.name == RAISE else current)
            if result.fired:
                checker.check_model(rewritten)
                found = [_run(rewritten, feeds) for feeds in _feeds(model)]
                assert all(map(_close, expected, found)), f"{entry.name} for {target}: {result.fired}"
            current = rewritten


def _feeds(model: ModelProto) -> list[dict[str, Any]]:
    static = model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    shapes = [(1, 4, 6, 7)] if static else [(1, 4, 6, 7), (2, 4, 9, 8)]
    return [{"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)} for shape in shapes]


def _run(model: ModelProto, feeds: dict[str, Any]) -> list[Any] | None:
    """The graph's outputs, or None if it does not take the size."""
    from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
    from rectexport.runtime.errors import BadInput

    try:
        return list(OnnxRuntimeRunner(model.SerializeToString(), threads=1, optimize=False).run(feeds).values())
    except BadInput:
        return None


def _close(expected: list[Any] | None, found: list[Any] | None) -> bool:
    if expected is None or found is None:
        return found is None
    return all(
        a.shape == b.shape and np.linalg.norm(a - b) <= RELATIVE_L2 * max(float(np.linalg.norm(a)), 1e-6)
        for a, b in zip(expected, found, strict=True)
    )


def _checkpoint() -> bytes:
    return (DIGITS).read_bytes()


TARGETS: dict[str, Callable[[], None]] = {
    entry.__name__: entry
    for entry in (manifest, shape_flags, bounds, checkpoint, checkpoint_fields, passes, http_request, grpc_request)
}
