"""Requests of the inference protocol over HTTP and gRPC are read, or refused with a reason."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rectexport.runtime.base.shapes import ShapeRange
from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.request import InferRequest
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import DATATYPE_OF, Signature
from tests.fuzz.strategies import changed, examples

Inputs = dict[str, tuple[str, tuple[Any, ...]]]
#: Name -> dtype, and shape of a batch of n; `none` is empty.
INPUTS: Inputs = {
    "x": ("float32", ("n", 2, "w")),
    "half": ("float16", ("n",)),
    "bool": ("bool", ("n", 2)),
    "byte": ("uint8", ("n",)),
    "long": ("int64", ("n", 1)),
    "none": ("int32", ("n", 0)),
}
#: Inputs except float16, for which gRPC has no typed values.
TYPED = {name: entry for name, entry in INPUTS.items() if name != "half"}
ROWS, WIDTHS = (1, 4), (2, 3)
LONGEST = 2000


def signature(taken: Inputs) -> Signature:
    """The signature of a model with these inputs and the outputs y, n x 2, and half, n."""

    def bounds(shape: tuple[Any, ...], side: int) -> tuple[int, ...]:
        return tuple({"n": ROWS[side], "w": WIDTHS[side]}.get(size, size) for size in shape)

    inputs = [
        TensorEntry(name, dtype, shape, ShapeRange(bounds(shape, 0), bounds(shape, 0), bounds(shape, 1)))
        for name, (dtype, shape) in taken.items()
    ]
    return Signature.of(inputs, (TensorEntry("y", "float32", ("n", 2)), TensorEntry("half", "float16", ("n",))))


HTTP, GRPC = signature(INPUTS), signature(TYPED)
small = st.integers(0, 9)


@st.composite
def feeds(draw: st.DrawFn, taken: Inputs) -> dict[str, Any]:
    """An array of the right dtype whose shape fits or nearly fits."""
    rows, width = draw(st.sampled_from((1, 2, 4, 2, 0, 5))), draw(st.sampled_from((2, 3, 2, 3, 1, 4)))
    made = {}
    for name, (dtype, shape) in taken.items():
        sizes = [{"n": rows, "w": width}.get(size, size) for size in shape]
        made[name] = (np.arange(int(np.prod(sizes))).reshape(sizes) % 2).astype(dtype)
    return made


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, int | None]:
    """A request with tensors as JSON or as bytes after it, partly changed; and the declared JSON length."""
    arrays = draw(feeds(INPUTS))
    entries, tail = [], b""
    for name, array in arrays.items():
        entry: dict[str, Any] = {"name": name, "datatype": DATATYPE_OF[array.dtype], "shape": list(array.shape)}
        if draw(st.booleans()) or name in ("half", "none"):
            entry["parameters"] = {"binary_data_size": array.nbytes + (draw(small) == 0)}
            tail += array.tobytes()
        else:
            entry["data"] = array.tolist()
        entries.append(entry)
    wanted = [{"name": "y", "parameters": {"binary_data": draw(st.booleans())}}, {"name": "half"}]
    document: Any = {"inputs": entries, "id": "a", "parameters": {"binary_data_output": True, "timeout": 1000}}
    if draw(st.booleans()):
        document["outputs"] = wanted
    if draw(st.booleans()):
        document = draw(changed(document))
    head = json.dumps(document).encode()
    tail = tail[: draw(st.integers(0, len(tail)))] if draw(small) == 0 else tail
    length = (
        draw(st.one_of(st.none(), st.integers(-2, len(head) + 2), st.integers())) if draw(small) == 0 else len(head)
    )
    return head + tail + (draw(st.binary(max_size=4)) if draw(small) == 0 else b""), length


anything = st.tuples(st.binary(), st.one_of(st.none(), st.integers()))


@examples(60)
@given(st.one_of(anything, bodies(), bodies(), bodies()), st.sampled_from((0.0, np.nan, np.inf, 7.0)))
def http_request(body: tuple[bytes, int | None], value: float) -> None:
    """Any body and any JSON length: what is read can be answered, or the answer is refused."""
    from rectexport.runtime.serving.http.codec import Codec

    codec = Codec()
    request = refused(400, lambda: codec.parse(*body, HTTP))
    if request is None:
        return
    fits(request, HTTP)
    outputs = {"y": np.full((request.rows, 2), value, np.float32), "half": np.full(request.rows, value, np.float16)}
    answer = refused(406, lambda: codec.answer(request, outputs, "model", "1"))
    if answer is not None:
        content, length = answer
        document = json.loads(content[:length])
        assert [entry["name"] for entry in document["outputs"]] == [wanted.name for wanted in request.wanted]
        assert document.get("id", "") == request.id


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A ModelInferRequest, partly changed."""
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest(model_name="model", id=draw(st.text(max_size=3)))
    raw = draw(st.booleans())
    for name, array in draw(feeds(TYPED)).items():
        shape = [*array.shape, 1] if draw(small) == 0 else array.shape
        entry = message.inputs.add(name=name, datatype=DATATYPE_OF[array.dtype], shape=shape)
        if raw or draw(small) == 0:
            message.raw_input_contents.append(
                array.tobytes() + (draw(st.binary(max_size=2)) if draw(small) == 0 else b"")
            )
        else:
            field = {"f": "fp32_contents", "b": "bool_contents", "u": "uint_contents"}.get(array.dtype.kind)
            values = [draw(st.integers(0, 300)), *array.ravel().tolist()[1:]] if array.size else []
            getattr(entry.contents, field or ("int64_contents" if name == "long" else "int_contents")).extend(values)
    if draw(st.booleans()):
        message.parameters["timeout"].int64_param = draw(st.integers(-1, 2**40))
    for name in draw(st.lists(st.sampled_from(("y", "half", "z")), max_size=2)):
        message.outputs.add(name=name)
    return bytes(message.SerializeToString())


@examples(150)
@given(st.one_of(st.binary(), messages(), messages()), st.integers(min_value=0), st.binary(max_size=3))
def grpc_request(content: bytes, at: int, noise: bytes) -> None:
    """Any message, and any bytes written over it."""
    from tritonclient.grpc import service_pb2

    from rectexport.runtime.serving.grpc.codec import parse
    from rectexport.runtime.serving.grpc.service import GrpcService

    at %= len(content) + 1
    content = content[:at] + noise + content[at + len(noise) :]
    service: Any = GrpcService(None)  # type: ignore[arg-type]
    model = SimpleNamespace(signature=GRPC)
    request = refused(400, lambda: service._parse(parse(service_pb2.ModelInferRequest, content), model))
    if request is not None:
        fits(request, GRPC)


def refused(status: int, call: Any) -> Any:
    """The call's result, or None for a RequestError with this status and a message; anything else fails the test."""
    try:
        return call()
    except RequestError as refusal:
        found, said = refusal.status, str(refusal)
    assert found == status and 0 < len(said) < LONGEST, said
    return None


def fits(request: InferRequest, model: Signature) -> None:
    """The request that was read fits the model and can be run."""
    assert list(request.feeds) == list(model.inputs)
    for name, array in request.feeds.items():
        tensor = model.inputs[name]
        assert array.dtype == tensor.dtype and array.shape[0] == request.rows
        assert all(low <= size <= high for size, (low, high) in zip(array.shape, tensor.bounds, strict=True))
    assert {wanted.name for wanted in request.wanted} <= set(model.outputs) and request.wanted
    assert request.timeout is None or 0 < request.timeout < 1e13
