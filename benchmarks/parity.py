"""Measure distances of packages from PyTorch in float64, at five sizes, in float32 and float16; writes docs/parity.md.

python -m benchmarks.parity
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from benchmarks.common import DIGITS, machine, rectified_resnet, table, write_page
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import DEFAULT_OPSET
from rectexport.exporter.checking.parity import CaseReport, check_parity
from rectexport.exporter.checking.reference import make_reference
from rectexport.exporter.checking.tolerance import RELATIVE_L2, Tolerance
from rectexport.exporter.frontend.inputs import ShapeOptions, plan_inputs
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.pipeline import ExportOptions, run_export
from rectexport.exporter.tracing.trace import trace
from rectexport.runtime.base.metrics import REGIONS

HEADINGS = ("net", "precision", "input", "max abs", "relative L2", "cosine", "top-1", *REGIONS, "allowed")
RESNET_SIZES = ("1x3x160x160", "3x3x193x257", "1x3x224x224", "2x3x225x225", "1x3x320x320")
DIGITS_SIZES = ("1x1x8x8", "4x1x8x8", "3x1x9x11", "7x1x13x8", "2x1x32x32")


def main() -> None:
    """Measure everything and write the page."""
    resnet = Source("module", rectified_resnet(), "resnet50, rectified", default_shape=(1, 3, 224, 224))
    digits = load_source(DIGITS)
    jobs: list[tuple[str, Source, ShapeOptions, tuple[str, ...]]] = [
        ("digits, static", digits, ShapeOptions(), ()),
        ("digits, dynamic", digits, ShapeOptions(min=["1x1x8x8"], max=["8x1x32x32"]), DIGITS_SIZES),
        ("RF-ResNet-50, static", resnet, ShapeOptions(), ()),
        (
            "RF-ResNet-50, dynamic",
            resnet,
            ShapeOptions(min=["1x3x160x160"], opt=["1x3x224x224"], max=["32x3x320x320"]),
            RESNET_SIZES,
        ),
    ]
    rows = [row for fp16 in (False, True) for job in jobs for row in measure(*job, fp16)]
    write_page("parity.md", page(rows))


def measure(name: str, source: Source, shapes: ShapeOptions, sizes: tuple[str, ...], fp16: bool) -> list[list[str]]:
    """One row per size: the package's outputs, and the worst inner tensor of each region."""
    inputs = plan_inputs(source, shapes).inputs
    traced = trace(source, inputs, DEFAULT_OPSET)
    tolerance = Tolerance(RELATIVE_L2["fp16" if fp16 else "fp32"])
    with TemporaryDirectory() as folder:
        package = run_export(source, shapes, Path(folder) / "package", ExportOptions(fp16=fp16), Log()).package
        report = check_parity(
            onnx.load(package.model_file),
            package.model_file,
            make_reference(source, traced),
            traced.inputs,
            tolerance,
            {size: feeds_of(inputs[0].name, size) for size in sizes} or None,
        )
    precision = "float16" if fp16 else "float32"
    return [[name, precision, *row(case), f"{tolerance.relative_l2:.0e}"] for case in report.cases]


def feeds_of(name: str, size: str) -> dict[str, Any]:
    """Seeded random data of the given size."""
    shape = tuple(int(part) for part in size.split("x"))
    return {name: np.random.default_rng(7).standard_normal(shape).astype(np.float32)}


def row(case: CaseReport) -> list[str]:
    """The figures of one case."""
    value = next(iter(case.outputs.values()))
    top1 = "" if value.top1 is None else f"{value.top1:.0%}"
    shape = "x".join(map(str, next(iter(case.shapes.values()))))
    worst = [
        max((layer.regions[region].relative_l2 for layer in case.layers if region in layer.regions), default=0.0)
        for region in REGIONS
    ]
    return [
        shape,
        f"{value.max_abs:.1e}",
        f"{value.relative_l2:.1e}",
        f"{value.cosine:.8f}",
        top1,
        *(f"{entry:.1e}" for entry in worst),
    ]


def page(rows: list[list[str]]) -> str:
    """The Markdown page."""
    return f"""# Parity with PyTorch

Written by `.venv/bin/python -m benchmarks.parity`. The package's ONNX runs in ONNX Runtime on the CPU with all graph
optimizations and is compared with PyTorch in float64 on the same seeded random input. max abs, relative L2, cosine and
top-1 are those of the outputs; corner, edge and interior give the relative L2 of the worst inner tensor in that region.
float16 means float16 in the graph; on a CPU this engine computes parts of it in float32. On a GPU: not measured yet.
RF-ResNet-50 has seeded random weights and BatchNorm statistics.

{table(HEADINGS, rows)}

{machine()}
"""


if __name__ == "__main__":
    main()
