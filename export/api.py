"""`rectexport.export`: the command line's export, from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rectexport.exporter.base.log import Lines, Log
from rectexport.exporter.base.options import (
    DEFAULT_RECTIFY,
    DEFAULT_TARGET,
    ExportOptions,
    Int8,
    LoadOptions,
    RectifyForm,
)
from rectexport.exporter.base.processing import Answer, ImageInput, parse_answer, parse_image_input
from rectexport.exporter.frontend.arguments import arranged, forward_names, program_layout, read_arguments
from rectexport.exporter.frontend.inputs import ShapeOptions
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.source import Source, independent_copy, unwrapped
from rectexport.exporter.passes import PassPipeline
from rectexport.exporter.pipeline import run_export
from rectexport.runtime.base.logs import LOGGER
from rectexport.runtime.base.notebook import bar
from rectexport.runtime.base.runner import Array, silent
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package

_IN_FLOAT32 = "pass model.float() and float32 inputs, and fp16=True for half precision in the graph"


def export(
    model: nn.Module | torch.export.ExportedProgram | torch.jit.ScriptModule,
    example_inputs: Tensor | tuple[Any, ...] | Mapping[str, Any],
    out: str | Path,
    dynamic_shapes: Any = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    opset: int | None = ExportOptions.opset,
    rectify: RectifyForm = DEFAULT_RECTIFY,
    target: str = DEFAULT_TARGET,
    fp16: bool = ExportOptions.fp16,
    bf16: bool = ExportOptions.bf16,
    int8: Int8 | None = ExportOptions.int8,
    atol: float | None = None,
    rtol: float | None = None,
    guard: bool = ExportOptions.guard,
    trace_timeout: float = ExportOptions.trace_timeout,
    tensorrt_version: str | None = ExportOptions.tensorrt_version,
    report: bool = ExportOptions.report,
    passes: PassPipeline | None = ExportOptions.passes,
    output_names: Sequence[str] = ExportOptions.output_names,
    image_input: str | ImageInput | None = None,
    output: str | Answer | None = None,
    preprocess: nn.Module | None = None,
    postprocess: nn.Module | None = None,
    progress: Callable[[str], None] = silent,
) -> Package:
    """Export a model into the package folder `out` and check it against PyTorch in float64.

    model            a module (a copy is exported, in eval mode, on the CPU), an exported program or TorchScript,
                     with float32 weights
    example_inputs   a tensor or a tuple, as forward takes them: float32, usually [N, C, H, W], or integers; or a dict
                     of keyword arguments. Tensors may stand in dicts, lists and tuples: their inputs are called
                     batch.image, images.0. Numbers and None are constants of the package
    dynamic_shapes   as torch.export.export takes it; None fixes every dimension; `32 * Dim("h")` is for multiples of 32
    kwargs           keyword arguments of forward besides example_inputs
    rectify          "auto", "fold" (constants, static H and W) or "graph" (factors computed from the shapes),
                     or "plugin" (nodes with function bodies, which a TensorRT plugin may replace)
    target           the engine that the graph is written for: "onnxruntime", "openvino", "tensorrt" or "portable";
                     several joined by commas get a file each where they differ; "auto": the engines installed here
    fp16, bf16       float16 or bfloat16 in the graph, float32 inputs and outputs; with int8, fp16 is what the rest is
    int8             how to quantize, as in Int8(calibrate="photos"); each target gets Q/DQ nodes where its engine wants
                     them; needs named targets or "auto"
    opset            None: 18, or 22 with bf16 (convolutions have bfloat16 since opset 22)
    atol, rtol       elementwise bounds for every output, besides the relative L2 bound
    guard            compare the model's outputs around every pass
    trace_timeout    most seconds that the trace may take
    tensorrt_version for target "tensorrt": the version that the model is judged for, as in "10.3"; None: 8.6, 10 and 11
    report           also write report.html into the package; needs jinja2
    passes           which passes may run; None: PassPipeline.default()
    output_names     names of the outputs, in order; by default the keys and fields that forward returns them under,
                     with dots between nested ones
    image_input      an 8-bit image in front of the model: "image:uint8,nhwc,rgb,resize=256,crop=224,mean=…,std=…";
                     the example is then a uint8 image, or as before what the model takes, and a picture is drawn
    output           "softmax", "sigmoid", "argmax" or "topk=5" behind the model, "NAME:softmax" for one of several
    preprocess, postprocess  modules before and behind the model, exported with it; example_inputs are then those
                     of preprocess, which returns what forward takes
    progress         called with a line of text for each step and what it found

    Returns the package that was written. Raises BadInput for a model that cannot be traced, UsageError for options
    that contradict each other, and ParityError when the package's outputs differ from PyTorch's.
    """
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
        if isinstance(dynamic_shapes, Mapping) and all(isinstance(axis, int) for axis in dynamic_shapes):
            dynamic_shapes = (dynamic_shapes,)
    source, front, free = _source(model, preprocess, example_inputs, kwargs or {}, dynamic_shapes)
    options = ExportOptions(
        opset=opset,
        rectify=rectify,
        target=target,
        fp16=fp16,
        bf16=bf16,
        int8=int8,
        atol={} if atol is None else {"": atol},
        rtol={} if rtol is None else {"": rtol},
        guard=guard,
        report=report,
        dynamic_shapes=free,
        trace_timeout=trace_timeout,
        tensorrt_version=tensorrt_version,
        passes=passes or PassPipeline.default(),
        output_names=tuple(output_names),
        image_input=parse_image_input(image_input) if isinstance(image_input, str) else image_input,
        answer=parse_answer(output) if isinstance(output, str) else output,
        preprocess=front,
        postprocess=None if postprocess is None else _copy(_module(postprocess, "postprocess"), "postprocess"),
    )
    own = bar() if progress is silent else None
    package = run_export(source, ShapeOptions(), Path(out), options, Log(own or Lines(progress))).package
    if own is not None:
        own.close()
    return package


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
    LOGGER.info("%s: %s", source.name, source.description)
    for remark in source.remarks:
        LOGGER.warning("%s: %s", source.name, remark)
    loaded: nn.Module = source.model
    return loaded


def _source(
    model: Any, preprocess: Any, example_inputs: Any, kwargs: Mapping[str, Any], dynamic_shapes: Any
) -> tuple[Source, nn.Module | None, Any]:
    """The source, what stands before it, and dynamic_shapes for each of its inputs."""
    if not isinstance(example_inputs, tuple | Mapping):
        found = type(example_inputs).__name__
        raise UsageError(
            f"example_inputs: expected a tensor, a tuple of arguments, or a dict of keyword arguments, got {found}"
        )
    model = unwrapped(model)
    if not isinstance(model, nn.Module | torch.export.ExportedProgram):
        raise UsageError(f"model: expected a torch.nn.Module or an ExportedProgram, got {type(model).__name__}")
    if isinstance(model, torch.export.ExportedProgram | torch.jit.ScriptModule) and preprocess is None:
        if kwargs:
            raise UsageError("kwargs: for a torch.nn.Module only; other models take their inputs in order")
        return _fixed_source(model, example_inputs, dynamic_shapes), None, dynamic_shapes
    module: Any = model
    front = module if preprocess is None else _module(preprocess, "preprocess")
    layout, tensors = read_arguments(front, example_inputs, kwargs)
    arrays = tuple(_array(value, place) for place, value in tensors.items())
    free = dynamic_shapes if layout.plain else layout.shapes(dynamic_shapes, forward_names(front, len(layout.args)))
    if preprocess is None:
        whole = arranged(_copy(module), layout)
        return Source("module", whole, type(model).__name__, None, list(layout.names), arrays), None, free
    kind, source_model = _kind(model)
    source = Source(kind, source_model, _description(model), None, list(layout.names), arrays)
    return source, arranged(_copy(front, "preprocess"), layout), free


def _kind(model: Any) -> tuple[str, Any]:
    """The kind of a source, and the model for it."""
    if isinstance(model, torch.export.ExportedProgram):
        return "program", model
    return ("torchscript" if isinstance(model, torch.jit.ScriptModule) else "module"), _copy(model)


def _description(model: Any) -> str:
    if isinstance(model, torch.export.ExportedProgram):
        return "torch.export program"
    return "TorchScript" if isinstance(model, torch.jit.ScriptModule) else type(model).__name__


def _fixed_source(model: Any, example_inputs: Any, dynamic_shapes: Any) -> Source:
    """A source from a program or TorchScript, which take tensors in an order of their own."""
    if dynamic_shapes is not None:
        raise UsageError(
            "dynamic_shapes: for a torch.nn.Module only; an exported program keeps its own, and TorchScript is "
            "exported with the example's shapes"
        )
    values = [value for value in pytree.tree_leaves(example_inputs) if isinstance(value, Tensor)]
    program = isinstance(model, torch.export.ExportedProgram)
    for index, value in enumerate(() if program else example_inputs):
        if not isinstance(value, Tensor):
            raise UsageError(f"example_inputs[{index}]: expected a tensor, got {type(value).__name__}")
    arrays = tuple(_array(value, f"example_inputs[{index}]") for index, value in enumerate(values))
    names = list(program_layout(model).names) if program else forward_names(model, len(arrays))
    if len(names) != len(arrays):
        raise UsageError(f"example_inputs: the program takes {len(names)} ({', '.join(names)}), got {len(arrays)}")
    kind, source_model = _kind(model)
    return Source(kind, source_model, _description(model), None, names, arrays)


def _module(value: Any, name: str) -> nn.Module:
    if not isinstance(value, nn.Module):
        raise UsageError(f"{name}: expected a torch.nn.Module, got {type(value).__name__}")
    return value


def _array(value: Tensor, name: str) -> Array:
    if value.dtype == torch.bfloat16:
        raise UsageError(f"{name}: is bfloat16, which NumPy does not have; {_IN_FLOAT32}")
    return np.asarray(value.detach().cpu().numpy(), order="C")


def _copy(model: nn.Module, name: str = "model") -> nn.Module:
    other = {entry.dtype for entry in model.parameters()} & {torch.float16, torch.bfloat16, torch.float64}
    if other:
        raise UsageError(f"{name}: has weights in {other.pop()}; {_IN_FLOAT32}")
    try:
        return independent_copy(model).cpu()
    except Exception as error:
        raise BadInput(f"{name}: cannot be copied: {summary(error)}") from error
