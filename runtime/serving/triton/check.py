"""Checks a Triton model repository: each config.pbtxt parses and agrees with the model beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import TensorSpec
from rectexport.runtime.engines.onnxruntime_runner import OnnxRuntimeRunner
from rectexport.runtime.errors import BadInput, RectexportError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.manifest import DEPENDENT, FILE_NAME, NOT_SHOWN
from rectexport.runtime.serving.signature import DATATYPES
from rectexport.runtime.serving.triton.config import BACKENDS, WARM_UP_FOLDER
from rectexport.runtime.serving.triton.ensemble import ENSEMBLE
from rectexport.runtime.serving.triton.ensemble_rules import ensemble_refusals
from rectexport.runtime.serving.triton.merge import fits, model_sizes
from rectexport.runtime.serving.triton.repository import CONFIG
from rectexport.runtime.serving.triton.rules import refusals


@dataclass(frozen=True)
class Finding:
    """A fault, and the name of the model that has it."""

    model: str
    text: str


def check_repository(folder: Path) -> tuple[list[str], list[Finding]]:
    """The names of the models, and their faults. Raises BadInput when the folder holds no model."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    models = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if not models:
        raise BadInput(f"{folder}: not a model repository: it holds no NAME/{CONFIG}")
    findings = [Finding(model.name, text) for model in models for text in _check_model(model)]
    return [model.name for model in models], findings


def _check_model(folder: Path) -> Iterator[str]:
    pb, text_format = require("tritonclient.grpc.model_config_pb2"), require("google.protobuf.text_format")
    try:
        config = text_format.Parse((folder / CONFIG).read_text(encoding="utf-8"), pb.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        yield f"{CONFIG}: {error}"
        return
    yield from _Check(folder, config, pb).findings()


@final
class _Check:
    """Compares one model's configuration with its files."""

    def __init__(self, folder: Path, config: Any, pb: Any) -> None:
        self._folder, self._config, self._pb = folder, config, pb
        self._types = {pb.DataType.Value(f"TYPE_{name}"): dtype for name, dtype in DATATYPES.items()}

    def findings(self) -> Iterator[str]:
        """Every fault, as text."""
        config = self._config
        if config.name not in ("", self._folder.name):
            yield f"name {config.name!r} in a folder named {self._folder.name!r}"
        if config.max_batch_size < 0:
            yield f"max_batch_size {config.max_batch_size}: expected 0 or more"
        if config.platform == ENSEMBLE:
            yield from ensemble_refusals(config, self._folder)
            return
        if config.max_batch_size == 0 and config.HasField("dynamic_batching"):
            yield "dynamic_batching with max_batch_size 0: requests are never batched"
        yield from refusals(config, self._pb, [version.name for version in self._versions()], self._folder)
        for side in ("input", "output"):
            yield from self._tensors(side)
        yield from self._backend()
        yield from self._warm_up()

    def _backend(self) -> Iterator[str]:
        config = self._config
        platforms = {platform: backend for backend, (platform, _) in BACKENDS.items() if platform}
        backend = config.backend or platforms.get(config.platform, "")
        if backend not in BACKENDS:
            yield f"backend {backend or config.platform!r}: expected one of {', '.join(BACKENDS)}"
            return
        platform, file = BACKENDS[backend]
        if config.platform not in ("", platform):
            yield f"platform {config.platform!r} with backend {backend!r}: expected {platform!r}"
        versions = self._versions()
        if not versions:
            yield "no version: expected a folder named with a whole number"
        names = sorted({config.default_model_filename or file, *config.cc_model_filenames.values()})
        for version in versions:
            missing = [name for name in names if not (version / name).is_file()]
            yield from (f"{version.name}/{name} is missing" for name in missing)
            if not missing:
                yield from (f"version {version.name}: {text}" for text in self._against_model(version))

    def _versions(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if path.is_dir() and path.name.isdecimal())

    def _tensors(self, side: str) -> Iterator[str]:
        tensors = getattr(self._config, side)
        if not tensors:
            yield f"no {side}"
        names = [tensor.name for tensor in tensors]
        yield from (f"{side} {name!r} is listed twice" for name in sorted(set(names)) if names.count(name) > 1)
        for tensor in tensors:
            if tensor.data_type not in self._types:
                yield f"{side} {tensor.name}: data_type {self._pb.DataType.Name(tensor.data_type)}"

    def _against_model(self, version: Path) -> Iterator[str]:
        try:
            inputs, outputs, most, rows = _model(version)
        except RectexportError as error:
            yield str(error)
            return
        if self._config.max_batch_size > 1 and rows in (DEPENDENT, NOT_SHOWN):
            yield f"max_batch_size {self._config.max_batch_size}: the package says rows {rows}, so none may share a run"
        if most is not None and self._config.max_batch_size > most:
            yield f"max_batch_size {self._config.max_batch_size}: the package takes at most {most}"
        for side, specs in (("input", inputs), ("output", outputs)):
            listed = {tensor.name: tensor for tensor in getattr(self._config, side)}
            yield from (f"no {side} {name!r} in the model" for name in listed.keys() - {spec.name for spec in specs})
            for spec in specs:
                if spec.name in listed:
                    yield from self._tensor(side, listed[spec.name], spec)
                else:
                    yield f"{side} {spec.name!r} of the model is not listed"

    def _tensor(self, side: str, listed: Any, spec: TensorSpec) -> Iterator[str]:
        dtype = self._types.get(listed.data_type)
        if dtype not in (None, spec.dtype):
            yield f"{side} {spec.name}: {self._pb.DataType.Name(listed.data_type)}, the model has {spec.dtype}"
        sizes = [size if isinstance(size, int) else -1 for size in spec.shape]
        if self._config.max_batch_size > 0:
            if sizes[:1] != [-1]:
                most = self._config.max_batch_size
                yield f"{side} {spec.name}: max_batch_size {most} with a fixed batch of {sizes[:1]}"
            sizes = sizes[1:]
        given = model_sizes(listed)
        exact = side == "input" or given == sizes or not sizes  # an output's free size stays free
        if not fits(given, sizes) or not exact:
            said = "reshape" if listed.HasField("reshape") else "dims"
            yield f"{side} {spec.name}: {said} {given}, the model has {sizes}"

    def _warm_up(self) -> Iterator[str]:
        inputs = {tensor.name: tensor for tensor in self._config.input}
        for sample in self._config.model_warmup:
            where = f"model_warmup {sample.name!r}"
            if not 1 <= sample.batch_size <= max(self._config.max_batch_size, 1):
                yield f"{where}: batch_size {sample.batch_size}"
            yield from (f"{where}: no input {name!r}" for name in sample.inputs.keys() ^ inputs.keys())
            for name, entry in sample.inputs.items():
                if name in inputs:
                    yield from (f"{where}: input {name}: {text}" for text in _sample_input(entry, inputs[name]))
                if not entry.input_data_file or entry.data_type not in self._types:
                    continue
                file = self._folder / WARM_UP_FOLDER / entry.input_data_file
                size = math.prod(entry.dims) * np.dtype(self._types[entry.data_type]).itemsize
                if not file.is_file() or file.stat().st_size != size:
                    yield f"{where}: {WARM_UP_FOLDER}/{entry.input_data_file}: expected a file of {size} bytes"


def _sample_input(entry: Any, listed: Any) -> Iterator[str]:
    if entry.data_type != listed.data_type:
        yield "another data_type than the input has"
    if any(size < 1 for size in entry.dims):
        yield f"dims {list(entry.dims)}: expected sizes from 1"
    elif not fits(entry.dims, listed.dims):
        yield f"dims {list(entry.dims)}, the input has {list(listed.dims)}"
    if entry.WhichOneof("input_data_type") is None:
        yield "expected zero_data, random_data or input_data_file"


def _model(version: Path) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec], int | None, str]:
    """Inputs and outputs, from the ONNX file if there is one; from the package the largest batch, and its rows."""
    most, rows = None, ""
    packaged = (version / FILE_NAME).is_file()
    if packaged:
        package = Package.open(version)
        package.verify_files()
        ranges = [entry.range for entry in package.manifest.inputs if entry.range and entry.range.max]
        most = min((bounds.max[0] for bounds in ranges), default=None)
        rows = package.manifest.rows
    if (version / "model.onnx").is_file():
        runner = OnnxRuntimeRunner(version / "model.onnx", threads=1, optimize=False)
        return runner.inputs, runner.outputs, most, rows
    if not packaged:
        raise BadInput("neither model.onnx nor a manifest to compare the configuration with")
    tensors = package.manifest.inputs, package.manifest.outputs
    inputs, outputs = ([TensorSpec(e.name, e.dtype, e.shape) for e in entries] for entries in tensors)
    return inputs, outputs, most, rows
