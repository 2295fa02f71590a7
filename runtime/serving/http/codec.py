"""Bodies of the HTTP protocol: JSON, and Triton's extension that appends tensors as bytes after the JSON.

Protocol: https://github.com/open-inference/open-inference-protocol, binary tensors:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import numpy as np

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array
from rectexport.runtime.serving.classes import DATATYPE, as_bytes, top_classes
from rectexport.runtime.serving.request import (
    InferRequest,
    Wanted,
    assemble,
    check_output,
    check_parameters,
    from_bytes,
    once,
    read_classes,
    read_timeout,
)
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import DATATYPE_OF, ServedTensor, Signature

#: NumPy kind of a tensor -> kinds of parsed JSON that convert to it without loss.
_ACCEPTED = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}


@final
class Codec:
    """Reads and writes bodies of infer requests."""

    def __init__(self) -> None:
        orjson = require("orjson")
        self._loads, self._dumps = orjson.loads, orjson.dumps
        self._numpy = orjson.OPT_SERIALIZE_NUMPY

    def parse(self, body: bytes, header_length: int | None, signature: Signature) -> InferRequest:
        """Read a request body; header_length is the length of its JSON when tensors follow as bytes.

        Raises RequestError 400 that names the field, what was expected and what was found.
        """
        view = memoryview(body)
        if header_length is not None and not 0 <= header_length <= len(body):
            raise RequestError(400, f"Inference-Header-Content-Length {header_length} of a body of {len(body)} bytes")
        text = view if header_length is None else view[:header_length]
        document = self.document(text)
        logical = has_logical(text)
        inputs = document.get("inputs")
        if not isinstance(inputs, list):
            raise RequestError(400, "inputs: expected a list of tensors")
        feeds: dict[str, Array] = {}
        offset = len(body) if header_length is None else header_length
        for entry in inputs:
            tensor, size = _named(entry, signature, feeds)
            shape = tensor.check(entry.get("datatype"), entry.get("shape"))
            if size is None:
                feeds[tensor.name] = _from_json(entry.get("data"), tensor, shape, logical)
                continue
            if offset + size > len(body):
                raise RequestError(
                    400, f"input {tensor.name}: binary_data_size {size}, but {len(body) - offset} bytes are left"
                )
            feeds[tensor.name] = from_bytes(body, tensor.dtype, shape, offset, tensor.name, size)
            offset += size
        if offset != len(body):
            raise RequestError(400, f"{len(body) - offset} bytes follow the last tensor")
        return _assembled(document, signature, feeds)

    def document(self, data: bytes | memoryview) -> dict[str, Any]:
        """A JSON object; raises RequestError 400."""
        try:
            document = self._loads(data)
        except ValueError as error:
            raise RequestError(400, f"not JSON: {str(error)[:200]}") from None
        if not isinstance(document, dict):
            raise RequestError(400, "expected a JSON object")
        return document

    def dumps(self, document: object) -> bytes:
        """JSON of plain values."""
        return bytes(self._dumps(document))

    def answer(
        self, request: InferRequest, outputs: Mapping[str, Array], name: str, version: str, batched: bool = True
    ) -> tuple[bytes, int | None]:
        """A response body, and the length of its JSON when tensors follow as bytes.

        batched says whether axis 0 is the batch, for the classification extension.
        Raises RequestError 406 when an output requested as JSON is FP16 or holds NaN or infinity.
        """
        entries: list[dict[str, Any]] = []
        parts: list[Any] = []
        for wanted in request.wanted:
            if wanted.classes:
                entries.append(_classified(outputs[wanted.name], wanted, batched, parts))
                continue
            array = np.ascontiguousarray(outputs[wanted.name])
            entry: dict[str, Any] = {
                "name": wanted.name,
                "datatype": DATATYPE_OF[array.dtype],
                "shape": array.shape,
            }
            if wanted.binary:
                entry["parameters"] = {"binary_data_size": array.nbytes}
                parts.append(array.data.cast("B") if array.size else b"")
            else:
                entry["data"] = _to_json(array, wanted.name)
            entries.append(entry)
        document: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": entries}
        if request.id:
            document["id"] = request.id
        head = self._dumps(document, option=self._numpy)
        if not parts:
            return head, None
        return b"".join((head, *parts)), len(head)


def _classified(array: Array, wanted: Wanted, batched: bool, parts: list[Any]) -> dict[str, Any]:
    texts = top_classes(array, wanted.classes, batched)
    entry: dict[str, Any] = {"name": wanted.name, "datatype": DATATYPE, "shape": texts.shape}
    if wanted.binary:
        parts.append(as_bytes(texts))
        entry["parameters"] = {"binary_data_size": len(parts[-1])}
    else:
        entry["data"] = texts.ravel().tolist()
    return entry


def _named(entry: Any, signature: Signature, feeds: Mapping[str, Array]) -> tuple[ServedTensor, int | None]:
    """The input that an entry names, and its number of bytes, None for JSON. Raises RequestError 400."""
    name = entry.get("name") if isinstance(entry, dict) else None
    tensor = signature.inputs.get(name) if isinstance(name, str) else None
    if tensor is None:
        raise RequestError(400, f"no input {str(name)[:100]!r}; the model takes {', '.join(signature.inputs)}")
    if tensor.name in feeds:
        raise RequestError(400, f"input {tensor.name} is given twice")
    size = check_parameters(entry.get("parameters"), f"input {tensor.name}").get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise RequestError(400, f"input {tensor.name}: expected binary_data_size to be a number of bytes")
    return tensor, size


def _assembled(document: dict[str, Any], signature: Signature, feeds: dict[str, Array]) -> InferRequest:
    id = document.get("id", "")
    if not isinstance(id, str):
        raise RequestError(400, "id: expected a string")
    parameters = check_parameters(document.get("parameters"), "request")
    binary = parameters.get("binary_data_output") is True
    listed = document.get("outputs")
    wanted = tuple(Wanted(name, binary) for name in signature.outputs)
    if listed is not None:
        if not isinstance(listed, list):
            raise RequestError(400, "outputs: expected a list")
        wanted = once(_wanted(entry, signature, binary) for entry in listed) or wanted
    return assemble(signature, feeds, id=id, wanted=wanted, timeout=read_timeout(parameters))


def _wanted(entry: Any, signature: Signature, binary: bool) -> Wanted:
    name = check_output(signature, entry.get("name") if isinstance(entry, dict) else None)
    parameters = check_parameters(entry.get("parameters"), f"output {name}")
    own = parameters.get("binary_data", binary)
    if not isinstance(own, bool):
        raise RequestError(400, f"output {name}: expected binary_data to be true or false")
    return Wanted(name, own, read_classes(parameters, name))


def has_logical(text: bytes | memoryview) -> bool:
    """Whether JSON may hold true or false: NumPy takes them for 1 and 0 where numbers stand beside them."""
    data = bytes(text)
    return b"true" in data or b"false" in data


def _mixes(data: Any) -> bool:
    """Whether true or false stands among numbers, in flat or nested lists."""
    kinds: set[bool] = set()
    lists = [data]
    while lists:
        for one in lists.pop():
            if isinstance(one, list):
                lists.append(one)
            else:
                kinds.add(isinstance(one, bool))
    return len(kinds) > 1


def _from_json(data: Any, tensor: ServedTensor, shape: tuple[int, ...], logical: bool) -> Array:
    """Flat or nested lists as an array of the tensor's dtype and `shape`. Raises RequestError 400 for lossy values.

    logical says that true or false may be among the values.
    """
    if logical and isinstance(data, list) and _mixes(data):
        raise RequestError(400, f"input {tensor.name}: data mixes numbers with true or false")
    if not isinstance(data, list):
        raise RequestError(400, f"input {tensor.name}: expected data, a list of numbers")
    if tensor.datatype == "FP16":
        raise RequestError(400, f"input {tensor.name}: FP16 has no JSON form; send it as binary data")
    try:
        found = np.array(data)
    except (ValueError, OverflowError):
        raise RequestError(400, f"input {tensor.name}: data is ragged, or nested too deeply") from None
    if found.dtype.kind not in _ACCEPTED[tensor.dtype.kind]:
        raise RequestError(400, f"input {tensor.name}: data holds values that are not {tensor.datatype}")
    if found.shape != shape and (found.ndim != 1 or found.size != math.prod(shape)):
        raise RequestError(400, f"input {tensor.name}: data has shape {list(found.shape)}, expected {list(shape)}")
    if tensor.dtype.kind in "iu":
        limits = np.iinfo(tensor.dtype)
        if found.size and not (limits.min <= found.min() and found.max() <= limits.max):
            raise RequestError(400, f"input {tensor.name}: a value does not fit {tensor.datatype}")
    with np.errstate(over="ignore"):
        array: Array = found.astype(tensor.dtype).reshape(shape)
    if tensor.dtype.kind == "f" and not np.isfinite(array).all():
        raise RequestError(400, f"input {tensor.name}: a value does not fit {tensor.datatype}")
    return array


def _to_json(array: Array, name: str) -> Any:
    if array.dtype == np.float16:
        raise RequestError(406, f"output {name}: FP16 has no JSON form; ask for binary_data")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise RequestError(406, f"output {name}: holds NaN or infinity, which JSON lacks; ask for binary_data")
    return array.ravel()
