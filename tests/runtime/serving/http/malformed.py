"""Malformed requests, made by hypothesis from valid ones; shared by the tests and the long run."""

from __future__ import annotations

import http.client
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

#: gRPC's counterparts of a 5xx.
FAULTS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS", "ABORTED"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "inputs", "outputs", "parameters")
TENSOR_FIELDS = ("name", "shape", "datatype", "data", "parameters")
PARAMETERS = ("binary_data_size", "binary_data", "binary_data_output", "timeout", "classification", "sequence_id")
HEADERS = {
    "Inference-Header-Content-Length": st.integers(-10, 400).map(str) | st.text("0123456789abc-+. ", max_size=30),
    "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "identity", "gzip, gzip"]),
    "X-Request-Id": st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200),
    "Content-Type": st.sampled_from(["text/plain", "application/octet-stream", "multipart/form-data"]),
}


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    """A request for the model `trouble`, with up to three fields changed, missing or added."""
    tensor: dict[str, Any] = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [2.0, 1.0, 0.0]}
    document: dict[str, Any] = {"id": "1", "inputs": [tensor], "outputs": [{"name": "y"}], "parameters": {}}
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from([document, tensor, document.get("outputs")]))
        if isinstance(place, list) and place and isinstance(place[0], dict):
            place = place[0]
        if not isinstance(place, dict):
            continue
        field = draw(st.sampled_from(TENSOR_FIELDS if place is tensor else (*FIELDS, *TENSOR_FIELDS)))
        change = draw(st.sampled_from(["delete", "replace", "parameter", "repeat"]))
        if change == "delete":
            place.pop(field, None)
        elif change == "replace":
            place[field] = draw(JSON)
        elif change == "parameter":
            place["parameters"] = {draw(st.sampled_from(PARAMETERS)): draw(JSON)}
        elif isinstance(place.get("inputs"), list):
            place["inputs"] = place["inputs"] * 2
    return document


@st.composite
def http_requests(draw: Any) -> tuple[str, str, bytes, dict[str, str]]:
    """Method, path, body and headers."""
    body = json.dumps(draw(documents())).encode()
    tail = draw(st.binary(max_size=40))
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "tail", "bytes"])):
        case "cut":
            body = body[: draw(st.integers(0, len(body)))]
        case "tail":
            body += tail
        case "bytes":
            body = tail
    headers = {name: draw(values) for name, values in HEADERS.items() if draw(st.integers(0, 5)) == 0}
    name = draw(st.sampled_from(["trouble"] * 6 + ["none", "%00", "..", "x" * 300, "%ff"]))
    version = draw(st.sampled_from([""] * 6 + ["/versions/1", "/versions/9", "/versions/x", "/versions/"]))
    action = draw(st.sampled_from(["/infer"] * 8 + ["", "/ready", "/stats", "/config", "/load", "//"]))
    method = draw(st.sampled_from(["POST"] * 6 + ["GET", "PUT", "DELETE", "HEAD"]))
    return method, f"/v2/models/{name}{version}{action}", body, headers


def status_of(address: str, request: tuple[str, str, bytes, dict[str, str]]) -> int:
    """The status that the server answers with."""
    method, path, body, headers = request
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@st.composite
def grpc_requests(draw: Any) -> bytes:
    """A serialized, malformed ModelInferRequest, or other bytes."""
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest()
    message.model_name = draw(st.sampled_from(["trouble"] * 5 + ["", "none", "x" * 300]))
    message.model_version = draw(st.sampled_from([""] * 5 + ["1", "2", "x"]))
    for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2]))):
        tensor = message.inputs.add()
        tensor.name = draw(st.sampled_from(["x"] * 5 + ["", "y"]))
        tensor.datatype = draw(st.sampled_from(["FP32"] * 5 + ["FP16", "INT64", "BYTES", ""]))
        tensor.shape.extend(draw(st.just([1, 3]) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5)))
        if draw(st.booleans()):
            tensor.contents.fp32_contents.extend(draw(st.just([2.0, 1.0, 0.0]) | st.lists(st.just(1.0), max_size=4)))
        else:
            good = np.array([2, 1, 0], np.float32).tobytes()
            message.raw_input_contents.append(draw(st.just(good) | st.binary(max_size=16)))
        if draw(st.integers(0, 5)) == 0:
            tensor.parameters[draw(st.sampled_from(PARAMETERS))].string_param = "x"
    if draw(st.integers(0, 5)) == 0:
        message.outputs.add().name = draw(st.sampled_from(["y", "", "z"]))
    if draw(st.integers(0, 5)) == 0:
        message.parameters["timeout"].int64_param = draw(st.integers(-(2**63), 2**63 - 1))
    data: bytes = message.SerializeToString()
    return draw(st.just(data) | st.just(data) | st.just(data[: len(data) // 2]) | st.binary(max_size=20))


def grpc_code(address: str | None, data: bytes) -> str:
    """The name of the status that the server answers with."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(data, timeout=30)
        return str(call.code().name)
