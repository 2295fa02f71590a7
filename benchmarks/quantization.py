"""Measure int8 on the digits network and on a rectified ResNet-20; writes docs/quantization.md's figures.

python -m benchmarks.quantization [--checkpoint FILE.pt] [--epochs 10]

The ResNet-20 is trained here, on digits enlarged to 16 by 16 with noise (rectexport/models/digits/enlarged.py), unless
the checkpoint of an earlier run is given. Accuracy is measured on images of digits that were not trained on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import nn

import rectexport
from benchmarks.common import DIGITS, machine, table, write_section
from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import DEFAULT_OPSET, ExportOptions, Int8
from rectexport.exporter.frontend.arguments import forward_names
from rectexport.exporter.frontend.inputs import ShapeOptions, plan_inputs
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.quantize.calibration import Items, split
from rectexport.exporter.quantize.measuring import Outputs, layer_noise, model_outputs, snr_db
from rectexport.exporter.quantize.placement import BOTH, STRIPS
from rectexport.exporter.quantize.quantizer import Quantizer
from rectexport.exporter.targets import lower_for_targets
from rectexport.exporter.tracing.trace import trace
from rectexport.models.checkpoint import build, read_checkpoint
from rectexport.models.digits.data import digits_split
from rectexport.models.digits.enlarged import enlarged
from rectexport.models.rectify import rectify
from rectexport.models.registry import create_model
from rectexport.runtime.evaluation.evaluate import Evaluation
from rectexport.runtime.evaluation.examples import batch_rows, open_examples
from rectexport.runtime.package.manifest import TensorEntry

ENGINES = ("onnxruntime", "openvino")
BATCH, PEAK_RATE, HELD_OUT_COPIES, CALIBRATION_COPIES = 64, 4e-3, 4, 1
#: Goals of the ResNet-20: least dB by target, least agreement in percent, largest drop in points.
GOALS = {"onnxruntime": 38.0, "openvino": 40.0, "tensorrt": 36.0}

REGIONS = ("corner", "edge", "interior")

Data = dict[str, Any]


def rectified_resnet20() -> nn.Module:
    """A ResNet-20 for 10 classes whose padded convolutions are rectified; untrained."""
    model = create_model("resnet20")
    rectify(model)
    return model


def trained_resnet(epochs: int) -> nn.Module:
    """A rectified ResNet-20, trained on other noise in every epoch; the same in every run of one version of PyTorch."""
    torch.manual_seed(0)
    model = rectified_resnet20().train()
    data = digits_split()
    steps = epochs * -(-len(data.train_images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    for epoch in range(epochs):
        images, labels = map(torch.from_numpy, enlarged(data.train_images, data.train_labels, 1, 1000 + epoch))
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(images[batch]), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def resnet(options: argparse.Namespace) -> nn.Module:
    """The trained network, from the checkpoint if it is there; else it is trained, and kept there."""
    if options.checkpoint is not None and options.checkpoint.exists():
        model = rectified_resnet20()
        model.load_state_dict(torch.load(options.checkpoint, weights_only=True))
        return model.eval()
    model = trained_resnet(options.epochs)
    if options.checkpoint is not None:
        torch.save(model.state_dict(), options.checkpoint)
    return model


def exported(model: nn.Module, images: np.ndarray, out: Path) -> tuple[Any, float]:
    """The int8 package for all three targets, calibrated on the images, and the seconds that the int8 stage took."""
    batch = torch.export.Dim("batch", max=64)
    package = rectexport.export(
        model,
        (torch.from_numpy(images[:32]),),
        out,
        ({0: batch},),
        target="onnxruntime,openvino,tensorrt",
        int8=Int8({forward_names(model, 1)[0]: images}, force=True),
    )
    return package, package.manifest.data["seconds"]["int8"]


def judged(package: Any, model: nn.Module, images: np.ndarray, labels: np.ndarray) -> Evaluation:
    """The package on both engines against the float model, on images that it was not calibrated on."""
    data = {package.manifest.inputs[0].name: images, "labels": labels}
    return rectexport.evaluate(package.path, data, against=model, backend=",".join(ENGINES))


def rows(name: str, package: Any, found: Evaluation) -> list[list[str]]:
    """A row for each engine, and one for the TensorRT form as its nodes say."""
    targets, lines = package.manifest.data["int8"]["targets"], []
    assert found.reference is not None and found.reference.value is not None
    for engine, answers in zip(ENGINES, found.engines, strict=True):
        entry = targets[engine]
        assert answers.difference is not None and answers.against is not None and answers.value is not None
        change, flips = answers.difference, answers.against.flips
        worst = f"{max(flip.margin for flip in flips):.2f}" if flips else "none"
        lines.append(
            [
                name,
                engine,
                forms(entry),
                f"{float(entry['engines'][engine]['snr_db']):.1f}",
                regions(entry),
                f"{answers.value:.2f}",
                f"{change.value:+.2f} ({change.low:+.2f} to {change.high:+.2f})",
                f"{answers.against.agreement:.2%}",
                worst,
            ]
        )
    entry = targets["tensorrt"]
    lines.append(
        [
            name,
            "tensorrt, as its nodes say",
            forms(entry),
            f"{float(entry['snr_db']):.1f}",
            regions(entry),
            "",
            "",
            "",
            "",
        ]
    )
    return lines


def forms(entry: Data) -> str:
    """How many layers have which form."""
    taken = list(entry["layers"].values())
    return ", ".join(f"{taken.count(form)} {form}" for form in sorted(set(taken)))


def regions(entry: Data) -> str:
    """The lowest ratios of any layer: corner / edge / interior."""
    return " / ".join(f"{float(entry['regions'][name]):.1f}" for name in REGIONS)


def last_map(entry: Data) -> dict[str, float]:
    """The regions of the last tensor that has an interior."""
    last = [entry["regions"] for entry in entry["noise"] if "interior" in entry["regions"]][-1]
    return {key: float(value) for key, value in last.items()}


def goals(package: Any, found: Evaluation) -> str:
    """What was aimed at and what was found."""
    targets, lines = package.manifest.data["int8"]["targets"], []
    for target, least in GOALS.items():
        entry = targets[target]
        ratio = float(entry["engines"].get(target, entry)["snr_db"])
        lines.append([f"{target}: dB", f">= {least:g}", f"{ratio:.1f}", _met(ratio >= least)])
        near = last_map(entry)
        behind = near["interior"] - near["corner"]
        lines.append(
            [f"{target}: corner behind interior, last map, dB", "<= 1.5", f"{behind:.1f}", _met(behind <= 1.5)]
        )
    for engine, answers in zip(ENGINES, found.engines, strict=True):
        assert answers.against is not None and answers.against.agreement is not None and answers.difference is not None
        agreement, drop = 100 * answers.against.agreement, -answers.difference.value
        lines.append([f"{engine}: agreement", ">= 99.3 %", f"{agreement:.2f} %", _met(agreement >= 99.3)])
        lines.append([f"{engine}: accuracy drop in points", "<= 0.2", f"{drop:.2f}", _met(drop <= 0.2)])
    return table(("ResNet-20", "goal", "found", "met"), lines)


def _met(holds: bool) -> str:
    return "yes" if holds else "no"


def ablation(model: nn.Module, images: np.ndarray) -> str:
    """Other methods, fewer images, portable weights: dB of the Q/DQ nodes' own semantics on the hold-out."""
    lowered, entries = lowered_model(model, images)
    rows = batch_rows(entries)
    calibration, hold_out = split(open_examples({"x": images}, entries), 256)
    expected = model_outputs(lowered, hold_out, rows)
    cases: list[tuple[str, int, dict[str, Any]]] = [
        ("mse, 256 images", 256, {}),
        ("minmax, 256 images", 256, {"method": "minmax"}),
        ("entropy, 256 images", 256, {"method": "entropy"}),
        ("mse, 64 images", 64, {}),
        ("mse, 16 images", 16, {}),
        ("mse, 256 images, 7-bit weights", 256, {"portable": True}),
    ]
    lines = []
    for name, count, asked in cases:
        quantizer = Quantizer(lowered, Items(calibration.rows(0, count), None), rows, Int8(None, **asked), Log())
        found = [quantizer.run(target) for target in GOALS]
        cells = [f"{snr_db(expected, model_outputs(entry.model, hold_out, rows)):.1f}" for entry in found]
        lines.append([name, *cells])
    calibrated = table(("calibration of the ResNet-20, dB", *GOALS), lines)
    forms = [
        (name, Quantizer(lowered, calibration, rows, Int8(None, placement=name), Log())) for name in (BOTH, STRIPS)
    ]
    headings = ("rectified layers on ONNX Runtime", "dB", "last map: corner", "edge", "interior")
    compared = [[name, *form_figures(lowered, quantizer, hold_out, rows, expected)] for name, quantizer in forms]
    return f"{calibrated}\n\n{table(headings, compared)}"


def form_figures(
    lowered: ModelProto, quantizer: Quantizer, hold_out: Items, rows: tuple[int, int], expected: Outputs
) -> list[str]:
    """dB of the outputs, and of the regions of the last map over the whole hold-out, where all layers have one form."""
    model = quantizer.run("onnxruntime").model
    names = [name for node in model.graph.node for name in node.output]
    noise = layer_noise(lowered, model, names, hold_out, rows, most=len(hold_out))
    last = [entry.regions for entry in noise if "interior" in entry.regions][-1]
    ratios = [snr_db(expected, model_outputs(model, hold_out, rows)), *(last[key] for key in REGIONS)]
    return [f"{float(value):.1f}" for value in ratios]


def lowered_model(model: nn.Module, images: np.ndarray) -> tuple[ModelProto, list[TensorEntry]]:
    """The float graph that is quantized, and its input."""
    source = Source("module", model, "ResNet-20", None, ["x"], (images[:32],))
    plan = plan_inputs(source, ShapeOptions(min=["x:1x3x16x16"], opt=["x:32x3x16x16"], max=["x:64x3x16x16"]))
    traced = trace(source, plan.inputs, DEFAULT_OPSET)
    options = ExportOptions(int8=Int8(None))
    (target,) = lower_for_targets(traced, ("onnxruntime",), options, Log())
    return target.model, [TensorEntry("x", "float32", ("batch", 3, 16, 16))]


def main() -> None:
    """Train or load, export, measure, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantization", description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    split = digits_split()
    begin, model = time.perf_counter(), resnet(options)
    print(f"trained or loaded in {time.perf_counter() - begin:.0f} s", flush=True)
    small = build(read_checkpoint(DIGITS), str(DIGITS))
    train, _ = enlarged(split.train_images, split.train_labels, CALIBRATION_COPIES, 7)
    images, labels = enlarged(split.held_out_images, split.held_out_labels, HELD_OUT_COPIES, 8)
    with TemporaryDirectory() as name:
        folder = Path(name)
        first, _ = exported(small, split.train_images, folder / "digits")
        second, seconds = exported(model, train, folder / "resnet20")
        judged_first = judged(first, small, split.held_out_images, split.held_out_labels)
        judged_second = judged(second, model, images, labels)
    headings = (
        "net",
        "engine",
        "layers",
        "dB",
        "regions",
        "accuracy",
        "change",
        "agreement",
        "largest margin of a flip",
    )
    found = [*rows("digits", first, judged_first), *rows("ResNet-20", second, judged_second)]
    reference = judged_second.reference
    assert reference is not None and judged_first.reference is not None
    text = "\n\n".join(
        [
            f"digits: {judged_first.items} images, {judged_first.reference.value:.2f} % in float. "
            f"ResNet-20: {judged_second.items} images, {reference.value:.2f} % in float.",
            table(headings, found),
            goals(second, judged_second),
            ablation(model, train),
            f"The int8 stage of the ResNet-20 for three targets took {seconds:.0f} s. {machine()}",
        ]
    )
    write_section("quantization.md", "figures", text)


if __name__ == "__main__":
    main()
