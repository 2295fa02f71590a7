"""Runs with inner tensors marked as outputs: which fusions of the engine they lose."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import parser

from rectexport.exporter.checking.fusion import FusionWatch, optimized_nodes

NET = """
<ir_version: 9, opset_import: ["" : 18]>
net (float[n, 2, h, w] x) => (float[n, 4, h, w] y{more}) <float[2, 2, 1, 1] a = {{1, 2, 3, 4}}> {{
  conv = Conv (x, a)
  active = Relu (conv)
  y = Concat <axis = 1> (active, active)
}}
"""


def file_of(folder: Path, *marked: str) -> Path:
    """The network with inner tensors as outputs, in a file."""
    path = folder / f"{'_'.join(marked) or 'plain'}.onnx"
    onnx.save(parser.parse_model(NET.format(more="".join(f", float[n, 2, h, w] {name}" for name in marked))), path)
    return path


def test_lost_fusions_are_counted_and_layouts_are_not(tmp_path: Path) -> None:
    watch, plain = FusionWatch(counts_nodes=True), file_of(tmp_path)
    assert watch.summary() == ""
    watch.note(plain, file_of(tmp_path, "active"), True)
    assert watch.summary().endswith("marking changed no fusion and no bit of the outputs")
    marked = file_of(tmp_path, "conv")
    assert optimized_nodes(marked)["Relu"] == optimized_nodes(plain)["Relu"] + 1
    watch.note(plain, marked, False)
    summary = watch.summary()
    assert summary.startswith(
        "2 runs with inner tensors marked as outputs: marking changed fusion in 1 (Relu 0 → up to 1)"
    )
    assert summary.endswith("and the outputs' last bits in 1")


def test_an_engine_that_hides_its_graph_is_judged_by_bits_alone() -> None:
    watch = FusionWatch(counts_nodes=False)
    watch.note(Path("none"), Path("none"), True)
    assert "marking changed no bit of the outputs; the engine does not show what it fuses" in watch.summary()
