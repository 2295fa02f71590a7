"""Bodies of infer requests are checked when read, and written as clients expect them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.package.manifest import TensorEntry
from rectexport.runtime.serving.http.codec import Codec
from rectexport.runtime.serving.http.compression import accepted, compressed, decompressed
from rectexport.runtime.serving.request import Wanted
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.signature import DATATYPES, Signature

pytest.importorskip("orjson")


def document(feeds: dict[str, Any], **changes: Any) -> dict[str, Any]:
    names = {"float32": "FP32", "int32": "INT32"}
    inputs = [
        {"name": name, "datatype": names[array.dtype.name], "shape": list(array.shape), "data": array.tolist()}
        for name, array in feeds.items()
    ]
    return {"inputs": inputs, **changes}


def body(data: Any) -> bytes:
    return json.dumps(data).encode()


def test_nested_and_flat_lists_are_the_same(signature: Signature, feeds: dict[str, Any]) -> None:
    nested = document(feeds, id="7")
    flat = document(feeds)
    flat["inputs"][0]["data"] = feeds["x"].ravel().tolist()
    for data in (nested, flat):
        request = Codec().parse(body(data), None, signature)
        for name, array in feeds.items():
            assert request.feeds[name].dtype == array.dtype
            np.testing.assert_array_equal(request.feeds[name], array)
    assert request.rows == 2 and request.key == ((3, 4), ())
    assert request.wanted == (Wanted("y", False),)
    assert Codec().parse(body(nested), None, signature).id == "7"


def test_tensors_as_bytes_after_the_json(signature: Signature, feeds: dict[str, Any]) -> None:
    data = document(feeds, parameters={"binary_data_output": True, "timeout": 2500})
    for entry, array in zip(data["inputs"], feeds.values(), strict=True):
        del entry["data"]
        entry["parameters"] = {"binary_data_size": array.nbytes}
    head = body(data)
    request = Codec().parse(head + feeds["x"].tobytes() + feeds["m"].tobytes(), len(head), signature)
    for name, array in feeds.items():
        np.testing.assert_array_equal(request.feeds[name], array)
    assert request.wanted == (Wanted("y", True),)
    assert request.timeout == pytest.approx(0.0025)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def make(feeds: dict[str, Any]) -> bytes:
        data = document(feeds)
        change(data)
        return body(data)

    return make


def first(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    return changed(lambda data: data["inputs"][0].update(fields))


BAD: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "no JSON": (lambda feeds: b"{", "not JSON"),
    "not UTF-8": (lambda feeds: b'{"id": "\xff"}', "not JSON"),
    "too deep": (lambda feeds: b"[" * 100_000, "not JSON"),
    "NaN": (lambda feeds: b'{"inputs": [NaN]}', "not JSON"),
    "a list": (lambda feeds: b"[]", "expected a JSON object"),
    "no inputs": (changed(lambda data: data.pop("inputs")), "inputs: expected a list"),
    "inputs no list": (changed(lambda data: data.update(inputs={})), "inputs: expected a list"),
    "an input no object": (changed(lambda data: data["inputs"].append(3)), "no input 'None'"),
    "unknown input": (first(name="z"), "no input 'z'; the model takes x, m"),
    "name no string": (first(name=["x"]), "no input"),
    "twice": (changed(lambda data: data["inputs"].append(data["inputs"][0])), "x is given twice"),
    "missing": (changed(lambda data: data["inputs"].pop()), "input m is missing"),
    "datatype": (first(datatype="INT32"), "expected datatype FP32"),
    "shape": (first(shape=[2, 3, 3]), "expected shape"),
    "count": (first(data=[1.0] * 23), r"data has shape \[23\], expected \[2, 3, 4\]"),
    "nested otherwise": (first(data=[[1.0] * 12] * 2), r"data has shape \[2, 12\], expected \[2, 3, 4\]"),
    "ragged": (first(data=[[1.0], [1.0, 2.0]]), "ragged"),
    "text": (first(data=["1.5"] * 24), "values that are not FP32"),
    "null": (first(data=[None] * 24), "values that are not FP32"),
    "no data": (first(data=None), "expected data"),
    "data no list": (first(data=1.0), "expected data"),
    "too large a float": (first(data=[1e300] * 24), "does not fit FP32"),
    "fractions": (changed(lambda data: data["inputs"][1].update(data=[1.5, 2.0])), "values that are not INT32"),
    "too large an integer": (changed(lambda data: data["inputs"][1].update(data=[2**31, 0])), "does not fit INT32"),
    "rows differ": (changed(lambda data: data["inputs"][1].update(shape=[1], data=[1])), "differ in batch size"),
    "id": (changed(lambda data: data.update(id=7)), "id: expected a string"),
    "parameters": (changed(lambda data: data.update(parameters=[])), "expected parameters to be an object"),
    "timeout": (changed(lambda data: data.update(parameters={"timeout": "1"})), "timeout: expected whole"),
    "negative timeout": (changed(lambda data: data.update(parameters={"timeout": -1})), "timeout: expected whole"),
    "shared memory": (first(parameters={"shared_memory_region": "r"}), "shared memory is not supported"),
    "outputs": (changed(lambda data: data.update(outputs={})), "outputs: expected a list"),
    "unknown output": (changed(lambda data: data.update(outputs=[{"name": "z"}])), "no output 'z'; the model gives y"),
    "classification": (
        changed(lambda data: data.update(outputs=[{"name": "y", "parameters": {"classification": True}}])),
        "classification to be a number of classes",
    ),
    "binary_data": (
        changed(lambda data: data.update(outputs=[{"name": "y", "parameters": {"binary_data": 1}}])),
        "expected binary_data",
    ),
    "size without bytes": (first(parameters={"binary_data_size": 96}), "0 bytes are left"),
    "size no number": (first(parameters={"binary_data_size": "96"}), "binary_data_size to be a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_body_is_refused(signature: Signature, feeds: dict[str, Any], case: str) -> None:
    make, said = BAD[case]
    with pytest.raises(RequestError, match=said) as refused:
        Codec().parse(make(feeds), None, signature)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("tail", "length", "said"),
    [
        (b"\0" * 96, 10**6, "Inference-Header-Content-Length 1000000"),
        (b"\0" * 95, None, "binary_data_size 96, but 95 bytes are left"),
        (b"\0" * 97, None, "1 bytes follow the last tensor"),
    ],
)
def test_bytes_must_add_up(
    signature: Signature, feeds: dict[str, Any], tail: bytes, length: int | None, said: str
) -> None:
    data = document(feeds)
    data["inputs"].reverse()
    del data["inputs"][1]["data"]
    data["inputs"][1]["parameters"] = {"binary_data_size": 96}
    head = body(data)
    with pytest.raises(RequestError, match=said):
        Codec().parse(head + tail, length or len(head), signature)


def test_the_size_of_bytes_must_fit_the_shape(signature: Signature, feeds: dict[str, Any]) -> None:
    data = document(feeds)
    del data["inputs"][0]["data"]
    data["inputs"][0]["parameters"] = {"binary_data_size": 92}
    head = body(data)
    with pytest.raises(RequestError, match="expected 96 bytes for shape"):
        Codec().parse(head + b"\0" * 92, len(head), signature)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_round_trips(datatype: str) -> None:
    dtype = np.dtype(DATATYPES[datatype])
    entry = TensorEntry("x", dtype.name, (2, 2))
    signature = Signature.of((entry,), (TensorEntry("y", dtype.name, (2, 2)),))
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    head = body(
        {
            "inputs": [
                {"name": "x", "datatype": datatype, "shape": [2, 2], "parameters": {"binary_data_size": array.nbytes}}
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        }
    )
    request = Codec().parse(head + array.tobytes(), len(head), signature)
    content, length = Codec().answer(request, {"y": request.feeds["x"]}, "m", "1")
    said = json.loads(content[:length])["outputs"][0]
    assert (said["datatype"], said["shape"]) == (datatype, [2, 2])
    np.testing.assert_array_equal(np.frombuffer(content[length:], dtype).reshape(2, 2), array)
    if datatype == "FP16":
        return
    as_json = {"inputs": [{"name": "x", "datatype": datatype, "shape": [2, 2], "data": array.tolist()}]}
    request = Codec().parse(body(as_json), None, signature)
    content, length = Codec().answer(request, {"y": request.feeds["x"]}, "m", "1")
    assert length is None
    assert json.loads(content)["outputs"][0]["data"] == array.ravel().tolist()


def test_bytes_of_a_bool_are_0_or_1() -> None:
    signature = Signature.of((TensorEntry("x", "bool", (2,)),), (TensorEntry("y", "bool", (2,)),))
    entry = {"name": "x", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}}
    head = body({"inputs": [entry]})
    with pytest.raises(RequestError, match="BOOL bytes are 0 or 1"):
        Codec().parse(head + b"\0\2", len(head), signature)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_json_cannot_hold_are_refused(signature: Signature, feeds: dict[str, Any], value: float) -> None:
    outputs = {"y": np.full((2, 2), value, np.float32)}
    request = Codec().parse(body(document(feeds)), None, signature)
    with pytest.raises(RequestError, match="ask for binary_data") as refused:
        Codec().answer(request, outputs, "m", "1")
    assert refused.value.status == 406
    binary = document(feeds, outputs=[{"name": "y", "parameters": {"binary_data": True}}])
    content, length = Codec().answer(Codec().parse(body(binary), None, signature), outputs, "m", "1")
    np.testing.assert_array_equal(np.frombuffer(content[length:], np.float32), np.full(4, value, np.float32))


def test_floats_survive_json_exactly(signature: Signature, feeds: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    outputs = {"y": (rng.standard_normal((2, 2)) * 10.0 ** rng.integers(-30, 30, (2, 2))).astype(np.float32)}
    request = Codec().parse(body(document(feeds)), None, signature)
    content, _ = Codec().answer(request, outputs, "m", "1")
    got = np.array(json.loads(content)["outputs"][0]["data"], np.float32).reshape(2, 2)
    np.testing.assert_array_equal(got, outputs["y"])


@pytest.mark.parametrize(("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_compressed_bodies(encoding: bytes, compress: Callable[[bytes], bytes]) -> None:
    data = b"abc" * 1000
    assert decompressed(compress(data), encoding, 3000) == data
    assert decompressed(data, b"identity", 10) == data
    for bad, status in ((compress(data)[:-6], 400), (b"no such data", 400), (compress(data + b"!"), 413)):
        with pytest.raises(RequestError) as refused:
            decompressed(bad, encoding, 3000)
        assert refused.value.status == status
    with pytest.raises(RequestError) as refused:
        decompressed(data, b"br", 3000)
    assert refused.value.status == 415


@pytest.mark.parametrize("data", [[True, 1.5], [[True], [2]], [1, False], [[[0.5], [[True]]]]])
def test_true_is_no_number(data: Any) -> None:
    entry = TensorEntry("x", "float32", (2,))
    signature = Signature.of((entry,), (entry,))
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": data}]}
    with pytest.raises(RequestError, match="mixes numbers with true or false"):
        Codec().parse(body(request), None, signature)


def test_an_output_that_is_asked_for_twice_is_sent_once(signature: Signature, feeds: dict[str, Any]) -> None:
    request = Codec().parse(body(document(feeds, outputs=[{"name": "y"}] * 2)), None, signature)
    assert request.wanted == (Wanted("y", False),)


def test_bytes_behind_compressed_data_are_refused() -> None:
    for more in (gzip.compress(b"again"), b"\0"):
        with pytest.raises(RequestError, match="behind its gzip data"):
            decompressed(gzip.compress(b"once") + more, b"gzip", 100)


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        (b"gzip", b"gzip"),
        (b"deflate, gzip;q=0.5", b"deflate"),
        (b"GZIP;q=0.2, br", b"gzip"),
        (b"*", b"gzip"),
        (b"gzip;q=0", b""),
        (b"identity", b""),
        (b"gzip;q=x", b""),
        (b"", b""),
    ],
)
def test_the_encoding_that_the_client_prefers(header: bytes, chosen: bytes) -> None:
    assert accepted(header) == chosen
    if chosen:
        assert decompressed(compressed(b"answer" * 9, chosen), chosen, 100) == b"answer" * 9
