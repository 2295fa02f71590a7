"""Export the models of the GPU tests and benchmarks on a machine with PyTorch; copy build/gpu to the GPU afterwards.

python -m benchmarks.gpu.prepare [--quick] [--out build/gpu]

Exports four networks in float32, float16 and bfloat16, static and dynamic, as packages; the rectified ResNet-50 in
each form of rectification, its plain twin, and chains of C2sp and CReLU layers in each form, as ONNX files in float16.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto

import rectexport
from benchmarks.cases import KINDS, Case
from benchmarks.chains import Chain
from benchmarks.gpu.plan import FOLDER, LIST, PRECISIONS
from rectexport.exporter.base.options import DEFAULT_OPSET
from rectexport.exporter.frontend.inputs import InputPlan, random_input
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PassContext, select_passes
from rectexport.exporter.passes.lowering import load_costs
from rectexport.exporter.passes.lowering.choice import Costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm
from rectexport.exporter.passes.order import FINISH, LOWER, PREPARE, RECTIFY
from rectexport.exporter.passes.precision import bfloat16, half
from rectexport.exporter.tracing.trace import trace
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.tools.seeded import seeded_model
from rectexport.runtime.base.shapes import ShapeRange

BATCHES = (1, 8, 32)
DIGITS = Path(__file__).resolve().parents[2] / "models" / "checkpoints" / "digits.pt"
#: Net -> its entry in the zoo, options, image size.
NETS: dict[str, tuple[str, dict[str, Any], int]] = {
    "rf-resnet50": ("resnet50", {"conv": "rectified"}, 224),
    "c2sp": ("c2sp_resnet50_0_5x", {}, 224),
    "crelu": ("convpool_cnn_c_crelu", {}, 32),
}
#: Channels and plane size of the chains; eight layers each.
CHAINS = ((64, 56), (256, 14))


def main() -> None:
    """Export packages and forms, and write the list of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the digits network and one chain: a minute")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, Any]]] = {"packages": list(packages(options.out, options.quick)), "forms": []}
    if not options.quick:
        found["forms"] += resnet(options.out)
    found["forms"] += chains(options.out, options.quick)
    (options.out / LIST).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.out}: {len(found['packages'])} packages, {len(found['forms'])} forms")


def packages(out: Path, quick: bool) -> Iterator[dict[str, Any]]:
    """Export every network at every precision, static and dynamic."""
    for net in ("digits", *(() if quick else NETS)):
        model, shape, free = _net(net)
        for precision in PRECISIONS:
            for dynamic in (False, True):
                name = f"{net}-{precision}-{'dynamic' if dynamic else 'static'}"
                rectexport.export(
                    model,
                    (torch.randn(2 if dynamic else 1, *shape),),
                    out / name,
                    _dynamic(shape, free) if dynamic else None,
                    target="tensorrt",
                    fp16=precision == "fp16",
                    bf16=precision == "bf16",
                )
                print(name, flush=True)
                yield {"name": name, "net": net, "precision": precision, "path": name}


def _net(name: str) -> tuple[torch.nn.Module, tuple[int, ...], bool]:
    """The network, the shape of its image [C, H, W], and whether H and W may vary."""
    if name == "digits":
        return build(read_checkpoint(DIGITS)), (1, 8, 8), True
    entry, options, size = NETS[name]
    return seeded_model(entry, **options), (3, size, size), False


def _dynamic(shape: tuple[int, ...], free: bool) -> Any:
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=32)}
    if free:
        sizes = (("height", shape[1]), ("width", shape[2]))
        axes |= {2 + i: torch.export.Dim(name, min=size // 2 + 1, max=4 * size) for i, (name, size) in enumerate(sizes)}
    return (axes,)


def resnet(out: Path) -> Iterator[dict[str, Any]]:
    """RF-ResNet-50 in each form of rectification, and its plain twin, to which all are compared."""
    forms: dict[str, tuple[str, str, Costs]] = {
        "plain twin": ("plain", "auto", ForcedForm(AS_WRITTEN)),
        "constant r": ("rectified", "fold", ForcedForm(AS_WRITTEN)),
        "residual": ("rectified", "auto", ForcedForm("residual")),
        "tail": ("rectified", "auto", ForcedForm("tail")),
        "r from shapes": ("rectified", "graph", ForcedForm(AS_WRITTEN)),
        "plugin": ("rectified", "plugin", ForcedForm(AS_WRITTEN)),
        "chosen": ("rectified", "auto", load_costs("tensorrt")),
    }
    for name, (conv, rectify, costs) in forms.items():
        for precision in PRECISIONS if name in ("plain twin", "constant r") else ("fp16",):
            model = _traced(conv, bfloat16.LEAST_OPSET if precision == "bf16" else DEFAULT_OPSET)
            context = PassContext("tensorrt", rectify, measured=costs)
            for entry in select_passes(context, stages=(PREPARE, LOWER, RECTIFY, FINISH)):
                model, _ = entry.run(model)
            yield _written(out, "RF-ResNet-50, 224²", name, "plain twin", model, precision, BATCHES)


@cache
def _traced(conv: str, opset: int) -> ModelProto:
    shapes = [(batch, 3, 224, 224) for batch in (1, 8, 32)]
    net = seeded_model("resnet50", conv=conv)
    plan = InputPlan("x", random_input(shapes[0], "float32"), ShapeRange(*shapes))
    source = Source("module", net, "resnet50", None, ["x"])
    return infer_shapes(trace(source, [plan], opset).model)


def chains(out: Path, quick: bool) -> Iterator[dict[str, Any]]:
    """Chains of eight layers of each operator, in each of its forms."""
    shapes = ((16, 8),) if quick else CHAINS
    for kind in KINDS:
        for channels, size in shapes:
            for batch in (1,) if quick else BATCHES:
                group = f"{kind.title}, {channels}×{size}²"
                for name, model in Case(kind, Chain(channels, size, batch, 8)).models().items():
                    yield _written(out, group, name, AS_WRITTEN, model, "fp16", (batch,))


def _written(
    out: Path, group: str, name: str, base: str, model: ModelProto, precision: str, batches: tuple[int, ...]
) -> dict[str, Any]:
    """Write one ONNX file in that precision; returns its entry in the list."""
    converted, kept = model, list[str]()
    if precision != "fp32":
        converted, result = (half if precision == "fp16" else bfloat16).run(model)
        kept = [entry.node for entry in result.refused]
    label = f"{group} {name} {precision} {'-'.join(map(str, batches))}"
    path = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in label.lower()) + ".onnx"
    onnx.save(converted, out / path)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    entry = {"group": group, "form": name, "base": base, "precision": precision, "batches": batches}
    print(label, flush=True)
    return {**entry, "input": model.graph.input[0].name, "shape": shape, "kept": kept, "path": path}


if __name__ == "__main__":
    main()
