"""Compare int8 with other quantizers on every family of the zoo; writes docs/quantization.md's second table.

python -m benchmarks.int8_yardsticks [--python .venv-yardsticks/bin/python] [--checkpoint FILE.pt] [--only NAME]
    [--results FILE.json]

The results are kept in a file, and a run goes on where the last one was: remove the file to begin again.

Each net gets the same calibration images, and each quantized file is computed as its Q/DQ nodes say, by ONNX Runtime
without optimization, on other images. The networks have random weights and statistics of BatchNorm from the images;
digits and, with --checkpoint (see benchmarks/quantization.py), the ResNet-20 are trained.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import nn

from benchmarks.common import DIGITS, machine, table, write_section
from benchmarks.quantization import rectified_resnet20
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import DEFAULT_OPSET, ExportOptions, Int8
from rectexport.exporter.frontend.inputs import ShapeOptions, plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.quantize.calibration import Items
from rectexport.exporter.quantize.measuring import model_outputs, snr_db
from rectexport.exporter.quantize.quantizer import Quantizer
from rectexport.exporter.targets import lower_for_targets
from rectexport.exporter.tracing.trace import Traced, trace
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits.data import digits_split
from rectexport.models.digits.enlarged import enlarged
from rectexport.models.registry import create_model
from rectexport.runtime.errors import RectexportError

TARGETS = ("onnxruntime", "openvino", "tensorrt")
TOOLS = ("onnxruntime", "nncf", "modelopt")
#: One network of each family that takes an image, and the side of its input: a part of ImageNet's, which costs minutes.
FAMILIES: Mapping[str, int] = {
    "digits": 8,
    "resnet20": 32,
    "plain38_2to1": 32,
    "preresnet62_2to1": 32,
    "convpool_cnn_c_crelu": 32,
    "dfn_mr1_type1": 32,
    "pvanet_crelu": 64,
    "c2sp_resnet50_0_5x": 64,
    "vgg13conv_crelu1": 32,
    "all_cnn_b_crelu1_to_4": 64,
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "regnet_x_4gf": 64,
    "resnest50_fast_2s8x": 64,
    "vgg16_bn": 64,
}
CALIBRATION, HELD_OUT, BATCH = 64, 64, 16
#: Rows of a run: the most, and the least.
ROWS = (BATCH, 1)


def network(name: str, images: np.ndarray, checkpoint: Path | None) -> nn.Module:
    """A network of the zoo, in eval mode."""
    if name == "digits":
        return build(read_checkpoint(DIGITS), str(DIGITS)).eval()
    torch.manual_seed(0)
    if name == "resnet20" and checkpoint is not None:
        model = rectified_resnet20()
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
        return model.eval()
    model = create_model(name).train()
    with torch.no_grad():
        for _ in range(4):
            for batch in torch.from_numpy(images).split(BATCH):
                model(batch)
    return model.eval()


def pictures(name: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(calibration, hold-out) images [N, C, side, side] for a network."""
    data = digits_split()
    if name == "digits":
        return data.train_images[:CALIBRATION], data.held_out_images[:HELD_OUT]
    parts = (
        (data.train_images[:CALIBRATION], data.train_labels[:CALIBRATION], 7),
        (data.held_out_images[:HELD_OUT], data.held_out_labels[:HELD_OUT], 8),
    )
    found = []
    for images, labels, seed in parts:
        large, _ = enlarged(images, labels, 1, seed)
        found.append(F.interpolate(torch.from_numpy(large), (side, side), mode="bilinear").numpy())
    return found[0], found[1]


def traced(model: nn.Module, images: np.ndarray) -> Traced:
    """The network as it is traced, with a free batch."""
    sizes = "x".join(str(size) for size in images.shape[1:])
    source = Source("module", model, "net", None, ["x"], (images[:2],))
    shapes = ShapeOptions(min=[f"x:1x{sizes}"], opt=[f"x:2x{sizes}"], max=[f"x:{BATCH}x{sizes}"])
    return trace(source, plan_inputs(source, shapes).inputs, DEFAULT_OPSET)


def lowered(found: Traced, target: str, int8: bool) -> ModelProto:
    """The float graph for a target, in the forms of its own cost table."""
    options = ExportOptions(target=target, int8=Int8(None) if int8 else None, guard=False)
    (entry,) = lower_for_targets(found, (target,), options, Log())
    return entry.model


def ours(found: Traced, target: str, calibration: Items, held: Items) -> str:
    """dB of our form for a target."""
    model = lowered(found, target, True)
    try:
        quantized = Quantizer(model, calibration, ROWS, Int8(None), Log()).run(target)
    except RectexportError as error:
        return str(error)[:40]
    return ratio(model, quantized.model, held)


def ratio(model: ModelProto, quantized: ModelProto, held: Items) -> str:
    """dB of a quantized model."""
    return f"{snr_db(model_outputs(model, held, ROWS), model_outputs(quantized, held, ROWS)):.1f}"


def foreign(python: Path, tool: str, model: ModelProto, images: np.ndarray, held: Items) -> tuple[str, str]:
    """(dB or what went wrong, version) of another tool."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, folder / "float.onnx")
        np.savez(folder / "data.npz", x=images)
        script = Path(__file__).with_name("int8_foreign.py")
        words = [
            str(python),
            str(script),
            tool,
            *(str(folder / file) for file in ("float.onnx", "data.npz", "out.onnx")),
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode:
            print(f"{tool}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr, flush=True)
            return "fails", ""
        version = done.stdout.strip().splitlines()[-1]
        try:
            made = onnx.load(folder / "out.onnx")
            if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
                return "stays in float", version
            return ratio(model, made, held), version
        except Exception as error:  # an engine's own error: the file that the tool wrote does not run
            print(f"{tool}: {error}"[:300], file=sys.stderr, flush=True)
            return "does not run", version


def row(name: str, options: argparse.Namespace, versions: set[str]) -> list[str]:
    """A network's ratios."""
    side = 16 if name == "resnet20" and options.checkpoint else FAMILIES[name]
    images, others = pictures(name, side)
    calibration, held = Items({"x": images}, None), Items({"x": others}, None)
    found = traced(network(name, images, options.checkpoint), images)
    cells = [ours(found, target, calibration, held) for target in TARGETS]
    model = lowered(found, "portable", False)  # no form of it looks quantized, as one for ONNX Runtime does
    for tool in TOOLS:
        cell, version = foreign(options.python, tool, model, images, held)
        cells.append(cell)
        versions.add(version)
    trained = name == "digits" or (name == "resnet20" and options.checkpoint)
    print(name, cells, flush=True)
    return [f"{name}, {side} by {side}{', trained' if trained else ''}", *cells]


def main() -> None:
    """Quantize every family with every tool and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8_yardsticks", description=__doc__)
    parser.add_argument("--python", type=Path, default=Path(".venv-yardsticks/bin/python"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--results", type=Path, default=Path("out/yardsticks.json"))
    parser.add_argument("--only", choices=FAMILIES, action="append")
    options = parser.parse_args()
    known: dict[str, Any] = json.loads(options.results.read_text()) if options.results.exists() else {}
    for name in options.only or FAMILIES:
        if name not in known:
            versions: set[str] = set()
            cells = row(name, options, versions)
            known[name] = {"cells": cells, "versions": sorted(versions - {""})}
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(known, indent=2))
    lines = [known[name]["cells"] for name in FAMILIES if name in known]
    headings = ("dB on the hold-out", *TARGETS, "onnxruntime's tool", "NNCF", "ModelOpt")
    compared = ", ".join(sorted({version for entry in known.values() for version in entry["versions"]}))
    write_section("quantization.md", "yardsticks", f"{table(headings, lines)}\n\nCompared with {compared}. {machine()}")


if __name__ == "__main__":
    main()
