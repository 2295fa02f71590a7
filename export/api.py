"""`rectexport.export`: the command line's export, from Python."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.frontend.inputs import ShapeOptions, forward_names
from rectexport.exporter.frontend.source import Source, unwrapped
from rectexport.exporter.passes import PassPipeline
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package

_IN_FLOAT32 = "pass model.float() and float32 inputs, and fp16=True for half precision in the graph"


def export(
    model: nn.Module | torch.export.ExportedProgram | torch.jit.ScriptModule,
    example_inputs: tuple[Tensor, ...],
    out: str | Path,
    dynamic_shapes: Any = None,
    *,
    opset: int | None = ExportOptions.opset,
    rectify: str = ExportOptions.rectify,
    target: str = ExportOptions.target,
    fp16: bool = ExportOptions.fp16,
    bf16: bool = ExportOptions.bf16,
    atol: float | None = None,
    rtol: float | None = None,
    guard: bool = ExportOptions.guard,
    report: bool = ExportOptions.report,
    passes: PassPipeline | None = ExportOptions.passes,
) -> Package:
    """Export a model into the package folder `out` and check it against PyTorch in float64.

    model            a module (a copy is exported, in eval mode, on the CPU), an exported program or TorchScript,
                     with float32 weights
    example_inputs   a tuple of tensors, as forward takes them: float32, usually [N, C, H, W], or integers
    dynamic_shapes   as torch.export.export takes it; None fixes every dimension
    rectify          "auto", "fold" (constants, static H and W) or "graph" (factors computed from the shapes),
                     or "plugin" (nodes with function bodies, which a TensorRT plugin may replace)
    target           the engine that the graph is written for: "onnxruntime", "openvino", "tensorrt" or "portable";
                     several joined by commas get a file each where they differ; "auto": the engines installed here
    fp16, bf16       float16 or bfloat16 in the graph, float32 inputs and outputs
    opset            None: 18, or 22 with bf16 (convolutions have bfloat16 since opset 22)
    atol, rtol       elementwise bounds for every output, besides the relative L2 bound
    guard            compare the model's outputs around every pass
    report           also write report.html into the package; needs jinja2
    passes           which passes may run; None: PassPipeline.default()

    Returns the package that was written. Raises BadInput for a model that cannot be traced, UsageError for options
    that contradict each other, and ParityError when the package's outputs differ from PyTorch's.
    """
    source = _source(model, example_inputs, dynamic_shapes)
    options = ExportOptions(
        opset=opset,
        rectify=rectify,
        target=target,
        fp16=fp16,
        bf16=bf16,
        atol={} if atol is None else {"": atol},
        rtol={} if rtol is None else {"": rtol},
        guard=guard,
        report=report,
        dynamic_shapes=dynamic_shapes,
        passes=passes or PassPipeline.default(),
    )
    return run_export(source, ShapeOptions(), Path(out), options, Log()).package


def _source(model: Any, example_inputs: tuple[Tensor, ...], dynamic_shapes: Any) -> Source:
    if not isinstance(example_inputs, tuple):
        raise UsageError(f"example_inputs: expected a tuple of tensors, got {type(example_inputs).__name__}")
    for index, value in enumerate(example_inputs):
        if not isinstance(value, Tensor):
            raise UsageError(f"example_inputs[{index}]: expected a tensor, got {type(value).__name__}")
    model = unwrapped(model)
    if not isinstance(model, nn.Module | torch.export.ExportedProgram):
        raise UsageError(f"model: expected a torch.nn.Module or an ExportedProgram, got {type(model).__name__}")
    if dynamic_shapes is not None and isinstance(model, torch.export.ExportedProgram | torch.jit.ScriptModule):
        raise UsageError(
            "dynamic_shapes: for a torch.nn.Module only; an exported program keeps its own, and TorchScript is "
            "exported with the example's shapes"
        )
    arrays = tuple(_array(value, f"example_inputs[{index}]") for index, value in enumerate(example_inputs))
    if isinstance(model, torch.export.ExportedProgram):
        names = list(model.graph_signature.user_inputs)
        if len(names) != len(arrays):
            raise UsageError(f"example_inputs: the program takes {len(names)} ({', '.join(names)}), got {len(arrays)}")
        return Source("program", model, "torch.export program", None, names, arrays)
    kind = "torchscript" if isinstance(model, torch.jit.ScriptModule) else "module"
    description = "TorchScript" if kind == "torchscript" else type(model).__name__
    return Source(kind, _copy(model), description, None, forward_names(model, len(arrays)), arrays)


def _array(value: Tensor, name: str) -> Array:
    if value.dtype == torch.bfloat16:
        raise UsageError(f"{name}: is bfloat16, which NumPy does not have; {_IN_FLOAT32}")
    return np.asarray(value.detach().cpu().numpy(), order="C")


def _copy(model: nn.Module) -> nn.Module:
    other = {entry.dtype for entry in model.parameters()} & {torch.float16, torch.bfloat16, torch.float64}
    if other:
        raise UsageError(f"model: has weights in {other.pop()}; {_IN_FLOAT32}")
    try:
        return copy.deepcopy(model).cpu()
    except Exception as error:
        raise BadInput(f"model: cannot be copied: {summary(error)}") from error
