"""Load a model file: our checkpoint, weights of a named network, .pt2, TorchScript, a trusted pickle, ONNX."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import rectexport.models.layers.ops  # noqa: F401  a saved program may call our ops
from rectexport.exporter.base.options import LoadOptions
from rectexport.exporter.base.quiet import quiet
from rectexport.exporter.frontend.arguments import program_layout, tensor_types
from rectexport.exporter.frontend.inputs import random_input
from rectexport.exporter.frontend.model_file import check_model_file
from rectexport.exporter.frontend.onnx_file import MAX_BYTES, numeric_type, read_onnx
from rectexport.exporter.frontend.program_archive import check_program_archive
from rectexport.exporter.frontend.source import Source, in_eval_mode, unwrapped
from rectexport.exporter.frontend.torchscript_archive import check_torchscript_archive
from rectexport.exporter.frontend.weights.own_code import own_imports
from rectexport.exporter.frontend.weights.shards import read_index
from rectexport.exporter.frontend.weights.state_dict import from_weights, own_network, pickled_module
from rectexport.models import checkpoint as checkpoints
from rectexport.models.loading.inert import Inert, load_inert
from rectexport.models.loading.weight_sets import find_sets
from rectexport.models.rectify import rectify
from rectexport.runtime.base.environment import require
from rectexport.runtime.base.reading import open_regular
from rectexport.runtime.base.texts import brief, summary
from rectexport.runtime.errors import BadInput, Option, RectexportError, UsageError
from rectexport.runtime.package.archives import MAX_ENTRIES, check_archive

#: Most bytes of the header of a .safetensors file.
MAX_HEADER = 16 << 20
_DEFAULTS = LoadOptions()


def load_source(path: Path | None, options: LoadOptions = _DEFAULTS) -> Source:
    """Load a model file of any supported kind; nothing is unpickled unless trust_pickle is set.

    Without a path it is the user's own network of `options.model`, with the weights that its code gives it. Raises
    BadInput that names the file and what is wrong with it, and UsageError for options that do not fit.
    """
    if path is None:
        source = own_network(options)
        return _rectified(source) if options.rectify_model else source
    path = check_model_file(path, options.arch)
    try:
        source = _loader(path)(path, options)
        return _rectified(source) if options.rectify_model else source
    except RectexportError:
        raise
    except Exception as error:  # on a damaged file, libraries raise errors that they do not document
        raise BadInput(f"{path}: damaged, or of a kind that is not supported: {summary(error)}") from error


def _rectified(source: Source) -> Source:
    """The source with every zero-padded convolution rectified and its weights unchanged."""
    if source.kind != "module":
        fixed = f"{source.name} is {source.description}, whose convolutions cannot be replaced"
        raise UsageError(Option("rectify_model"), f": {fixed}; give a checkpoint, weights or a module")
    report = rectify(source.model)
    if not report.changed:
        raise BadInput(Option("rectify_model"), f": {source.name} has no zero-padded convolution to rectify")
    left = "".join(f"; {name} left alone: {reason}" for name, reason in report.skipped)
    source.description += f", {len(report.changed)} convolutions rectified{left}"
    return source


def _loader(path: Path) -> Callable[[Path, LoadOptions], Source]:
    if path.suffix == ".onnx":
        return _load_onnx
    if path.suffix == ".safetensors":
        return _load_safetensors
    if path.suffix == ".json":
        return _load_shards
    if zipfile.is_zipfile(path) or _starts_as_zip(path):
        return _zip_loader(path)
    return _load_torch


def _zip_loader(path: Path) -> Callable[[Path, LoadOptions], Source]:
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        return _load_torchscript
    if "archive_format" in names or "models/model.json" in names:
        return _load_program
    return _load_torch


def _load_torch(path: Path, options: LoadOptions) -> Source:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not options.trust_pickle or not _is_pickle(path):
            return _load_inert(path, options, _pickle_message(path, error))
        value = _unpickle(path)
    except Exception as error:
        raise BadInput(f"{path}: not a file that torch.load reads, or a damaged one: {summary(error)}") from None
    return _from_value(path, value, options)


def _load_inert(path: Path, options: LoadOptions, fault: Sequence[str | Option]) -> Source:
    """The weights of a file that holds other objects too, none of which is made. Raises BadInput(*fault) without."""
    if not _starts_as_zip(path):
        raise BadInput(*fault)
    try:
        value, unknown = load_inert(path)
    except Exception:  # what weights_only refuses for another reason
        raise BadInput(*fault) from None
    network = options.model or options.arch
    if checkpoints.is_checkpoint(value) or not find_sets(value) or (network is None and isinstance(value, Inert)):
        raise BadInput(*fault)
    source = from_weights(path, value, options)
    left = f"objects of {len(unknown)} classes in the file were not made: {', '.join(unknown[:3])}"
    return replace(source, remarks=[*source.remarks, left + (", …" if len(unknown) > 3 else "")])


def _from_value(path: Path, value: Any, options: LoadOptions) -> Source:
    value = unwrapped(value)
    if checkpoints.is_checkpoint(value):
        return _from_checkpoint(path, value, options)
    if options.model is None and (found := pickled_module(value, options.weights)) is not None:
        module, remarks = found
        return Source("module", in_eval_mode(module.float()), f"pickled {type(module).__name__}", path, remarks=remarks)
    if isinstance(value, Mapping | nn.Module):
        return from_weights(path, value, options)
    raise BadInput(f"{path}: holds a {type(value).__name__}, expected a checkpoint, a state_dict or a module")


def _from_checkpoint(path: Path, value: Mapping[str, Any], options: LoadOptions) -> Source:
    model = checkpoints.build(value, str(path))
    arch = value["arch"]
    for name in ("model", "weights"):
        if getattr(options, name) is not None:
            raise UsageError(Option(name, getattr(options, name)), f": {path} is a checkpoint of {arch}; leave it out")
    if options.rectified is not None:
        flag = Option("rectified" if options.rectified else "plain")
        raise UsageError(flag, f": {path} is a checkpoint of {arch}, which records that; leave it out")
    if options.arch not in (None, arch):
        raise UsageError(Option("arch", options.arch), f": {path} is a checkpoint of {arch}; leave it out")
    return Source(
        "module",
        in_eval_mode(model),
        f"checkpoint of {arch}",
        path,
        example_inputs=(value["example_input"].numpy(),),
        tolerances={name: _bound(path, name, bound) for name, bound in value["tolerances"].items()},
    )


def _bound(path: Path, name: object, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        key = name if isinstance(name, str) else brief(name)
        raise BadInput(f"{path}: tolerances: {key:.100}: expected a finite number >= 0, got {brief(value)}")
    return float(value)


def _load_safetensors(path: Path, options: LoadOptions) -> Source:
    return from_weights(path, _read_safetensors(path), options)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    safetensors = require("safetensors.torch")
    _check_safetensors(path)
    try:
        tensors: Mapping[str, Any] = safetensors.load_file(path)
    except Exception as error:
        raise BadInput(f"{path}: not a readable .safetensors file: {summary(error)}") from None
    return tensors


def _load_shards(path: Path, options: LoadOptions) -> Source:
    tensors: dict[str, Any] = {}
    for shard, names in read_index(path).items():
        value = _read_shard(shard)
        for name in names:
            if not isinstance(value.get(name), Tensor):
                raise BadInput(f"{path}: {shard.name} has no tensor {name!r:.200}, which the index says it holds")
            tensors[name] = value[name]
    return from_weights(path, tensors, options)


def _read_shard(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    check_archive(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadInput(f"{path}: not a file of weights, or a damaged one: {summary(error)}") from None
    if not isinstance(value, Mapping):
        raise BadInput(f"{path}: holds a {type(value).__name__}, expected a state_dict")
    return value


def _check_safetensors(path: Path) -> None:
    """Raise BadInput for a header that does not fit in the file, or would take very long to parse.

    Format: https://github.com/huggingface/safetensors: 8 bytes with the header's length, the header in JSON, the data.
    """
    with open_regular(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > MAX_HEADER:
            raise BadInput(
                f"{path}: not a .safetensors file: its header has {length} bytes, expected at most {MAX_HEADER}"
            )
        entries = stream.read(length).count(b'"data_offsets"')
    if entries > MAX_ENTRIES:
        raise BadInput(f"{path}: {entries} tensors, expected at most {MAX_ENTRIES}")


def _load_program(path: Path, options: LoadOptions) -> Source:
    if not options.trust_pickle:
        check_program_archive(path)
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:
        raise BadInput(f"{path}: not a .pt2 that torch {torch.__version__} loads: {summary(error)}") from None
    try:
        names, dtypes = list(program_layout(program).names), tensor_types(program)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    examples = program.example_inputs and [
        v for v in pytree.tree_leaves(program.example_inputs) if isinstance(v, Tensor)
    ]
    arrays = None if examples is None else tuple(value.detach().numpy() for value in examples)
    types = dict(zip(names, dtypes, strict=True))
    return Source("program", program, "torch.export program", path, names, arrays, input_dtypes=types)


def _load_torchscript(path: Path, options: LoadOptions) -> Source:
    if not options.trust_pickle:
        check_torchscript_archive(path)
    try:
        model = in_eval_mode(torch.jit.load(path, map_location="cpu").float())
    except Exception as error:
        fault = f"not a TorchScript file that torch {torch.__version__} loads: {summary(error)}"
        raise BadInput(f"{path}: {fault}") from None
    names = [value.debugName().partition(".")[0] for value in list(model.graph.inputs())[1:]]
    return Source("torchscript", model, "TorchScript", path, names)


def _load_onnx(path: Path, options: LoadOptions) -> Source:
    model, outside = read_onnx(path, whole=MAX_BYTES)
    stored = {entry.name for entry in model.graph.initializer} | outside.tensors.keys()
    values = [value for value in model.graph.input if value.name not in stored]
    if not values:
        raise BadInput(f"{path}: the model has no input")
    dtypes = [numeric_type(value, path) for value in values]
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values]
    known = all(size > 0 for shape in shapes for size in shape)
    examples = None
    if known:
        examples = tuple(random_input(tuple(shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    names = [value.name for value in values]
    types = dict(zip(names, dtypes, strict=True))
    return Source("onnx", model, "ONNX file", path, names, examples, input_dtypes=types, outside=outside)


def _unpickle(path: Path) -> Any:
    try:
        with own_imports():
            return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise BadInput(
            f"{path}: could not be unpickled: {summary(error)}; the module's own code must be importable here"
        ) from None


def _starts_as_zip(path: Path) -> bool:
    """Whether torch takes the file for an archive: torch looks at the start of a file, zipfile at its end."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _is_pickle(path: Path) -> bool:
    """Whether the file is torch's archive, or starts as pickles do: with a protocol, or the GLOBAL of protocol 0."""
    with path.open("rb") as stream:
        start = stream.read(2)
    return zipfile.is_zipfile(path) or start[:1] == b"c" or (start[:1] == b"\x80" and start[1:] <= b"\x05")


def _pickle_message(path: Path, error: Exception) -> list[str | Option]:
    if not _is_pickle(path):
        return [f"{path}: not a file that torch.load reads, or a damaged one"]
    return [
        f"{path}: is a pickle that runs code when loaded ({_forbidden(error)}). If you trust its author, add ",
        Option("trust_pickle", True),
        "; it is safer to save a state_dict, or to use torch.export.save",
    ]


def _forbidden(error: Exception) -> str:
    text = str(error)
    for marker in ("GLOBAL ", "Unsupported global: "):
        if marker in text:
            return text.partition(marker)[2].split()[0].rstrip(".,")
    return "it holds more than tensors"
