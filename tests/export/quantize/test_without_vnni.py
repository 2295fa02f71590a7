"""7-bit weights on a processor without VNNI, emulated by qemu-user: bit for bit the answers of this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import Int8
from rectexport.exporter.quantize.quantizer import Quantizer
from rectexport.runtime.base.processor import processor
from tests.export.quantize.nets import items, rectified_net

QEMU = shutil.which("qemu-x86_64")
pytestmark = [
    pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64 (Debian's qemu-user) to emulate AVX2 without VNNI"),
    pytest.mark.skipif(processor().architecture != "x86_64", reason="qemu runs this Python only on x86-64"),
]
#: Has AVX2, and neither AVX-512 nor VNNI.
HASWELL = "Haswell"
SCRIPT = """
import sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
x = numpy.load("x.npy")
for name in sys.argv[1:]:
    session = onnxruntime.InferenceSession(name + ".onnx", options, providers=["CPUExecutionProvider"])
    numpy.save(name + ".npy", session.run(None, {"x": x})[0])
"""


def large_sums() -> ModelProto:
    """A net whose products of 8 bits saturate in pairs: weights of one sign and size, and bright images."""
    model = rectified_net()
    for entry in model.graph.initializer:
        if entry.name in ("first", "second"):
            entry.CopyFrom(numpy_helper.from_array(np.abs(numpy_helper.to_array(entry)) + np.float32(1), entry.name))
    return model


def answers(folder: Path, *before: str) -> dict[str, np.ndarray]:
    """What ONNX Runtime answers to both models, in a process of its own."""
    words = [*before, sys.executable, "-c", SCRIPT, "seven", "eight"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: np.load(folder / f"{name}.npy") for name in ("seven", "eight")}


def test_seven_bits_are_equal_and_eight_saturate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = large_sums(), items(96)
    for name, bits in (("seven", 7), ("eight", 8)):
        monkeypatch.setattr(Quantizer, "_bits", lambda self, target, bits=bits: (bits, "the test asks for them"))
        found = Quantizer(model, data, (8, 1), Int8(None), Log()).run("onnxruntime")
        onnx.save(found.model, tmp_path / f"{name}.onnx")
    np.save(tmp_path / "x.npy", data.feeds["x"][:4])
    here = answers(tmp_path)
    assert QEMU is not None
    there = answers(tmp_path, QEMU, "-cpu", HASWELL)
    assert np.array_equal(here["seven"], there["seven"])
    if {"avx512_vnni", "avx_vnni"}.intersection(processor().features):  # else both saturate
        assert np.abs(here["eight"] - there["eight"]).max() > 0.01 * np.abs(here["eight"]).max()
