"""An infer request as values: made by a protocol's codec, run by the batcher."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rectexport.runtime.base.runner import Array
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import Signature

#: The protocol's parameter for a request's own deadline is in microseconds.
MICROSECONDS = 1e-6
_UNSUPPORTED = {
    "shared_memory_region": "shared memory is not supported; send the tensor's bytes",
}


@dataclass(frozen=True)
class Wanted:
    """An output that the client asked for. `binary` is for HTTP: as bytes, or as JSON.

    classes is how many of its largest values to send in its place, 0 for the output itself.
    """

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """A checked request. Requests of equal key may share a run. timeout is in seconds, None for the server's own."""

    id: str
    feeds: dict[str, Array]
    wanted: tuple[Wanted, ...]
    rows: int
    key: tuple[tuple[int, ...], ...]
    timeout: float | None = None


def assemble(
    signature: Signature,
    feeds: dict[str, Array],
    *,
    id: str = "",
    wanted: tuple[Wanted, ...] = (),
    timeout: float | None = None,
) -> InferRequest:
    """A request from checked tensors. Raises RequestError 400 for a missing input or unequal batch sizes."""
    if len(feeds) != len(signature.inputs):
        missing = next(name for name in signature.inputs if name not in feeds)
        raise RequestError(400, f"input {missing} is missing; the model takes {', '.join(signature.inputs)}")
    ordered = {name: feeds[name] for name in signature.inputs}
    rows = 1
    if signature.max_batch:
        sizes = {array.shape[0] for array in ordered.values()}
        if len(sizes) != 1:
            raise RequestError(400, f"the inputs differ in batch size: {', '.join(map(str, sorted(sizes)))}")
        rows = sizes.pop()
        key = tuple(array.shape[1:] for array in ordered.values())
    else:
        key = tuple(array.shape for array in ordered.values())
    return InferRequest(id, ordered, wanted, rows, key, timeout)


def check_output(signature: Signature, name: object) -> str:
    """The name, when the model has such an output. Raises RequestError 400."""
    if not isinstance(name, str) or name not in signature.outputs:
        raise RequestError(400, f"no output {str(name)[:100]!r}; the model gives {', '.join(signature.outputs)}")
    return name


def check_parameters(parameters: Any, where: str) -> dict[str, Any]:
    """The protocol's free-form parameters. Raises RequestError 400 unless they are an object of supported ones."""
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RequestError(400, f"{where}: expected parameters to be an object")
    for name, reason in _UNSUPPORTED.items():
        if name in parameters:
            raise RequestError(400, f"{where}: {reason}")
    return parameters


def read_classes(parameters: dict[str, Any], name: str) -> int:
    """The classification extension's count, 0 where it is not asked for. Raises RequestError 400."""
    count = parameters.get("classification", 0)
    if type(count) is not int or not 0 <= count < 2**31:
        raise RequestError(400, f"output {name}: expected classification to be a number of classes")
    return count


def once(wanted: Iterable[Wanted]) -> tuple[Wanted, ...]:
    """Each output once, as it was asked for first; Triton does the same."""
    found: dict[str, Wanted] = {}
    for one in wanted:
        found.setdefault(one.name, one)
    return tuple(found.values())


def read_timeout(parameters: dict[str, Any]) -> float | None:
    """The request's own deadline in seconds; 0 and none mean the server's. Raises RequestError 400."""
    value = parameters.get("timeout")
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**63:
        raise RequestError(400, "parameter timeout: expected whole microseconds")
    return value * MICROSECONDS or None


def from_bytes(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, name: str, size: int) -> Array:
    """An array that shares a tensor's bytes in `data`. Raises RequestError 400 when their number does not fit shape."""
    count = 1
    for extent in shape:
        count *= extent
    if size != count * dtype.itemsize:
        raise RequestError(
            400, f"input {name}: expected {count * dtype.itemsize} bytes for shape {list(shape)}, got {size}"
        )
    array: Array = np.frombuffer(data, dtype, count, offset).reshape(shape)
    if dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
        raise RequestError(400, f"input {name}: BOOL bytes are 0 or 1")
    return array
