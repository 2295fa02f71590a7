"""`rectexport.export`: the command line's export, from Python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rectexport.exporter.base.log import Log
from rectexport.exporter.base.options import ExportOptions, LoadOptions
from rectexport.exporter.frontend.by_name import by_name, named_parameters
from rectexport.exporter.frontend.inputs import ShapeOptions, forward_names
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.source import Source, independent_copy, unwrapped
from rectexport.exporter.passes import PassPipeline
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.base.runner import Array
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package

_IN_FLOAT32 = "pass model.float() and float32 inputs, and fp16=True for half precision in the graph"


def export(
    model: nn.Module | torch.export.ExportedProgram | torch.jit.ScriptModule,
    example_inputs: Tensor | tuple[Tensor, ...],
    out: str | Path,
    dynamic_shapes: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    opset: int | None = ExportOptions.opset,
    rectify: str = ExportOptions.rectify,
    target: str = ExportOptions.target,
    fp16: bool = ExportOptions.fp16,
    bf16: bool = ExportOptions.bf16,
    atol: float | None = None,
    rtol: float | None = None,
    guard: bool = ExportOptions.guard,
    trace_timeout: float = ExportOptions.trace_timeout,
    report: bool = ExportOptions.report,
    passes: PassPipeline | None = ExportOptions.passes,
) -> Package:
    """Export a model into the package folder `out` and check it against PyTorch in float64.

    model            a module (a copy is exported, in eval mode, on the CPU), an exported program or TorchScript,
                     with float32 weights
    example_inputs   a tensor or a tuple of tensors, as forward takes them: float32, usually [N, C, H, W], or integers
    dynamic_shapes   as torch.export.export takes it; None fixes every dimension; `32 * Dim("h")` is for multiples of 32
    kwargs           keyword arguments of forward: tensors, which become inputs after example_inputs, and constants
    rectify          "auto", "fold" (constants, static H and W) or "graph" (factors computed from the shapes),
                     or "plugin" (nodes with function bodies, which a TensorRT plugin may replace)
    target           the engine that the graph is written for: "onnxruntime", "openvino", "tensorrt" or "portable";
                     several joined by commas get a file each where they differ; "auto": the engines installed here
    fp16, bf16       float16 or bfloat16 in the graph, float32 inputs and outputs
    opset            None: 18, or 22 with bf16 (convolutions have bfloat16 since opset 22)
    atol, rtol       elementwise bounds for every output, besides the relative L2 bound
    guard            compare the model's outputs around every pass
    trace_timeout    most seconds that the trace may take
    report           also write report.html into the package; needs jinja2
    passes           which passes may run; None: PassPipeline.default()

    Returns the package that was written. Raises BadInput for a model that cannot be traced, UsageError for options
    that contradict each other, and ParityError when the package's outputs differ from PyTorch's.
    """
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
        if isinstance(dynamic_shapes, Mapping) and all(isinstance(axis, int) for axis in dynamic_shapes):
            dynamic_shapes = (dynamic_shapes,)
    source = _source(model, example_inputs, dynamic_shapes)
    if kwargs:
        source, dynamic_shapes = _with_keywords(source, kwargs, dynamic_shapes)
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
        trace_timeout=trace_timeout,
        passes=passes or PassPipeline.default(),
    )
    return run_export(source, ShapeOptions(), Path(out), options, Log()).package


def load_model(
    path: str | Path | None = None,
    *,
    model: str | Callable[..., Any] | nn.Module | None = LoadOptions.model,
    model_args: Mapping[str, Any] | None = None,
    arch: str | None = LoadOptions.arch,
    weights: str | None = LoadOptions.weights,
    rectified: bool | None = LoadOptions.rectified,
    trust_pickle: bool = LoadOptions.trust_pickle,
    rectify_model: bool = LoadOptions.rectify_model,
) -> nn.Module:
    """The network of a model file as `rectexport export` loads it: float32, in eval mode, on the CPU.

    path           weights, a training checkpoint, a checkpoint of ours, or a pickled module; None takes the weights
                   that the model's own code sets
    model          the user's own network: a class, function or module, or its name as mynets.py:UNet
    model_args     keyword arguments for it
    arch           name of the zoo's network, instead of model
    weights        which weights of a file that holds several: "raw", "ema" or the name of a set
    rectified      with arch: whether the weights are those of the rectified network; None assumes the zoo's
    trust_pickle   unpickle the file, which runs code from it
    rectify_model  rectify every zero-padded convolution

    What was loaded goes to the logger "rectexport": at INFO, and at WARNING what was chosen or assumed. Raises BadInput
    for a file that does not fit, or code that fails, and UsageError for arguments that contradict each other.
    """
    options = LoadOptions(
        arch, trust_pickle, rectify_model, model, {} if model_args is None else model_args, weights, rectified
    )
    source = load_source(None if path is None else Path(path), options)
    if source.kind != "module":
        raise BadInput(f"{source.name}: is {source.description}, and no torch.nn.Module")
    logger = logging.getLogger("rectexport")
    logger.info("%s: %s", source.name, source.description)
    for remark in source.remarks:
        logger.warning("%s: %s", source.name, remark)
    loaded: nn.Module = source.model
    return loaded


def _source(model: Any, example_inputs: tuple[Tensor, ...], dynamic_shapes: Any) -> Source:
    if not isinstance(example_inputs, tuple):
        got = type(example_inputs).__name__
        hint = "; keyword arguments of forward go into kwargs" if isinstance(example_inputs, dict) else ""
        raise UsageError(f"example_inputs: expected a tensor or a tuple of tensors, got {got}{hint}")
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


def _with_keywords(source: Source, kwargs: Mapping[str, Any], dynamic_shapes: Any) -> tuple[Source, Any]:
    """The source with keyword arguments as further inputs, and dynamic_shapes by the names of all inputs."""
    if source.kind != "module":
        raise UsageError("kwargs: for a torch.nn.Module only; other models take their inputs in order")
    names, arrays = source.input_names or [], source.example_inputs or ()
    known = named_parameters(source.model)
    strangers = [name for name in kwargs if name not in {entry.name for entry in known} - set(names)]
    if strangers and not any(entry.kind is entry.VAR_KEYWORD for entry in known):
        takes = ", ".join(entry.name for entry in known[len(names) :]) or "nothing else"
        raise UsageError(f"kwargs: forward takes no {strangers[0]!r} besides example_inputs; it takes {takes}")
    tensors = {name: _array(value, f"kwargs[{name!r}]") for name, value in kwargs.items() if isinstance(value, Tensor)}
    constants = {name: value for name, value in kwargs.items() if name not in tensors}
    model = by_name(source.model, [*names, *tensors], constants, len(names))
    if dynamic_shapes is not None:
        given = dynamic_shapes if isinstance(dynamic_shapes, Mapping) else dict(zip(names, dynamic_shapes, strict=True))
        dynamic_shapes = {name: given.get(name) for name in (*names, *tensors)}
    inputs = [*names, *tensors]
    return replace(source, model=model, input_names=inputs, example_inputs=(*arrays, *tensors.values())), dynamic_shapes


def _array(value: Tensor, name: str) -> Array:
    if value.dtype == torch.bfloat16:
        raise UsageError(f"{name}: is bfloat16, which NumPy does not have; {_IN_FLOAT32}")
    return np.asarray(value.detach().cpu().numpy(), order="C")


def _copy(model: nn.Module) -> nn.Module:
    other = {entry.dtype for entry in model.parameters()} & {torch.float16, torch.bfloat16, torch.float64}
    if other:
        raise UsageError(f"model: has weights in {other.pop()}; {_IN_FLOAT32}")
    try:
        return independent_copy(model).cpu()
    except Exception as error:
        raise BadInput(f"model: cannot be copied: {summary(error)}") from error
