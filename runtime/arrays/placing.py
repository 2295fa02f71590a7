"""Runs one inference with arrays of any library, without copies where possible, and allocates the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rectexport.runtime.arrays.cupy_arrays import CupyArrays
from rectexport.runtime.arrays.kinds import AnyLibrary, DeviceLibrary, HostLibrary, library_of
from rectexport.runtime.arrays.torch_arrays import TorchCudaTensors
from rectexport.runtime.base.runner import DeviceArray, DeviceRunner, Runner
from rectexport.runtime.base.shapes import Shape
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.manifest import TensorEntry


def infer(
    runner: Runner,
    library: AnyLibrary,
    feeds: Mapping[str, Any],
    out: Mapping[str, Any],
    outputs: Sequence[TensorEntry],
) -> dict[str, Any]:
    """Run on checked feeds of one library; outputs that are in `out` are written into those arrays.

    Raises BadInput when an array in `out` has a wrong library, dtype, shape or layout, or when the feeds are on a GPU
    that the runner does not use.
    """
    if out:
        _check_out(library, out, outputs)
    if isinstance(library, (TorchCudaTensors, CupyArrays)):
        return _infer_on_device(runner, library, feeds, out)
    return _infer_on_host(runner, library, feeds, out)


def _infer_on_host(
    runner: Runner, library: HostLibrary, feeds: Mapping[str, Any], out: Mapping[str, Any]
) -> dict[str, Any]:
    results = runner.run({name: library.to_host(value) for name, value in feeds.items()})
    for name, target in out.items():
        _check_out_shape(name, target, results[name].shape)
    for name, target in out.items():
        library.write(target, results[name])
    return {name: out[name] if name in out else library.from_host(array) for name, array in results.items()}


def _infer_on_device(
    runner: Runner, library: DeviceLibrary, feeds: Mapping[str, Any], out: Mapping[str, Any]
) -> dict[str, Any]:
    if not isinstance(runner, DeviceRunner):
        raise BadInput(
            f"input {next(iter(feeds))}: is on a GPU, but {runner.description} takes arrays on the host: "
            "copy it to the host, or load the package with backend='cuda' or 'tensorrt'"
        )
    for name, value in (*feeds.items(), *out.items()):
        if library.device(value) != runner.device:
            raise BadInput(f"{name}: is on GPU {library.device(value)}, but the session runs on GPU {runner.device}")
    results: dict[str, Any] = {}

    def allocate(name: str, shape: Shape, dtype: str) -> DeviceArray:
        if name in out:
            _check_out_shape(name, out[name], shape)
        results[name] = out[name] if name in out else library.empty(shape, dtype, runner.device)
        return library.to_device(results[name])

    runner.run_on_device({name: library.to_device(value) for name, value in feeds.items()}, allocate)
    return results


def _check_out(library: AnyLibrary, out: Mapping[str, Any], outputs: Sequence[TensorEntry]) -> None:
    entries = {entry.name: entry for entry in outputs}
    for name, target in out.items():
        if name not in entries:
            raise BadInput(f"no output named {name!r}; the model gives {', '.join(entries)}")
        found = library_of(target)
        if found != library:
            kind = type(target).__qualname__ if found is None else found.name
            raise BadInput(f"out {name}: expected a {library.name} array, as the inputs are, got {kind}")
        reason = library.fault(target)
        if reason is None and isinstance(library, (TorchCudaTensors, CupyArrays)) and not library.dense(target):
            reason = "is not contiguous, but engines write contiguous arrays"
        if reason is None and isinstance(target, np.ndarray) and not target.flags.writeable:
            reason = "is read-only"
        if reason is None and library.dtype(target) != entries[name].dtype:
            reason = f"expected dtype {entries[name].dtype}, got {library.dtype(target)}"
        if reason:
            raise BadInput(f"out {name}: {reason}")


def _check_out_shape(name: str, target: Any, shape: Shape) -> None:
    if tuple(target.shape) != shape:
        raise BadInput(f"out {name}: expected shape {list(shape)}, got {list(target.shape)}")
