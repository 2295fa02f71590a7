"""`rectexport.export`: the same export that the command line makes, from Python."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rectexport.exporter.inputs import ShapeOptions, forward_names
from rectexport.exporter.log import Log
from rectexport.exporter.pipeline import ExportOptions, run_export
from rectexport.exporter.source import Source
from rectexport.runtime.errors import UsageError
from rectexport.runtime.package import Package


def export(
    model: nn.Module | torch.export.ExportedProgram | torch.jit.ScriptModule,
    example_inputs: tuple[Tensor, ...],
    out: str | Path,
    dynamic_shapes: Any = None,
    *,
    opset: int = ExportOptions.opset,
    rectify: str = ExportOptions.rectify,
    target: str = ExportOptions.target,
    fp16: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
    guard: bool = True,
) -> Package:
    """Export a model into the package folder `out` and check it against PyTorch in float64.

    model            a module (a copy is exported, in eval mode, on the CPU) or an exported program
    example_inputs   a tuple of tensors, as forward takes them
    dynamic_shapes   as torch.export.export takes it; None fixes every dimension
    rectify          "auto", "fold" (constants, static H and W) or "graph" (factors computed from the shapes)
    target           the engine that even kernels and CReLUs are lowered for: "onnxruntime", "openvino",
                     "tensorrt" or "portable"
    fp16             float16 in the graph, float32 inputs and outputs
    atol, rtol       elementwise bounds for every output, besides the relative L2 bound

    Raises BadInput for a model that cannot be traced, UsageError for options that do not fit, ParityError
    when the package's answers differ.
    """
    source = _source(model, example_inputs)
    options = ExportOptions(
        opset=opset,
        rectify=rectify,
        target=target,
        fp16=fp16,
        atol={} if atol is None else {"": atol},
        rtol={} if rtol is None else {"": rtol},
        guard=guard,
        dynamic_shapes=dynamic_shapes,
    )
    return run_export(source, ShapeOptions(), Path(out), options, Log()).package


def _source(model: Any, example_inputs: tuple[Tensor, ...]) -> Source:
    if not isinstance(example_inputs, tuple) or not all(isinstance(value, Tensor) for value in example_inputs):
        raise UsageError(f"example_inputs: expected a tuple of tensors, got {type(example_inputs).__name__}")
    arrays = tuple(np.ascontiguousarray(value.detach().cpu().numpy()) for value in example_inputs)
    if isinstance(model, torch.export.ExportedProgram):
        return Source("program", model, "torch.export program", None, list(model.graph_signature.user_inputs), arrays)
    if isinstance(model, torch.jit.ScriptModule):
        return Source("torchscript", model, "TorchScript", None, forward_names(model, len(arrays)), arrays)
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: expected a torch.nn.Module or an ExportedProgram, got {type(model).__name__}")
    model = copy.deepcopy(model).cpu()
    return Source("module", model, type(model).__name__, None, forward_names(model, len(arrays)), arrays)
