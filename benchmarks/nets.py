"""The whole rectified ResNet-50 and its plain twin, as they are deployed."""

from __future__ import annotations

import torch
from onnx import ModelProto

from rectexport.exporter.base.options import DEFAULT_OPSET
from rectexport.exporter.frontend.inputs import InputPlan, random_input
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.shapes import infer_shapes
from rectexport.exporter.passes import PassContext, select_passes
from rectexport.exporter.passes.lowering.choice import Costs
from rectexport.exporter.passes.lowering.machinery.form import AS_WRITTEN
from rectexport.exporter.passes.lowering.machinery.tuning import ForcedForm
from rectexport.exporter.passes.order import FINISH, LOWER, PREPARE, RECTIFY
from rectexport.exporter.tracing.trace import trace
from rectexport.models import create_model
from rectexport.runtime.base.shapes import ShapeRange

CHOSEN, PLAIN = "chosen", "plain twin"


def resnet50(
    size: int,
    batch: int,
    costs: Costs,
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    forms: tuple[str, ...] = ("residual", "tail"),
) -> dict[str, ModelProto]:
    """RF-ResNet-50 as written, in these forms of rectification and as chosen by `costs`, and its plain twin."""
    rectified, plain = (_traced(conv, (batch, 3, size, size), blocks) for conv in ("rectified", "plain"))
    models = {PLAIN: _deployed(plain, ForcedForm(AS_WRITTEN)), AS_WRITTEN: _deployed(rectified, ForcedForm(AS_WRITTEN))}
    for form in forms:
        models[form] = _deployed(rectified, ForcedForm(form))
    return {**models, CHOSEN: _deployed(rectified, costs)}


def _traced(conv: str, shape: tuple[int, ...], blocks: tuple[int, ...]) -> ModelProto:
    torch.manual_seed(0)
    net = create_model("resnet50", conv=conv, blocks=blocks).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics as after training, where shifts are not 0
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    source = Source("module", net, "resnet50", None, ["x"])
    plan = InputPlan("x", random_input(shape, "float32"), ShapeRange(shape, shape, shape))
    return infer_shapes(trace(source, [plan], DEFAULT_OPSET).model)


def _deployed(model: ModelProto, costs: Costs) -> ModelProto:
    for entry in select_passes(PassContext(measured=costs), stages=(PREPARE, LOWER, RECTIFY, FINISH)):
        model, _ = entry.run(model)
    return model
