"""The page's files, and the document that it shows."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from rectexport.runtime.batching.rows import UNBOUNDED
from rectexport.runtime.serving.repository import ServedModel
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.signature import ServedTensor

_HERE = Path(__file__).parent
#: Path -> file and content type. The document of `overview` is at /page.json.
FILES = {
    "": ("page.html", b"text/html; charset=utf-8"),
    "page.css": ("page.css", b"text/css; charset=utf-8"),
    "page.js": ("page.js", b"text/javascript; charset=utf-8"),
}
OVERVIEW = "page.json"
#: The page's own requests carry this header, which a page of another site cannot send without being allowed to.
MARK = b"x-rectexport-page"
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def read_files() -> dict[str, tuple[bytes, bytes]]:
    """Path -> content and content type."""
    return {path: ((_HERE / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}


def overview(service: Service, address: str) -> dict[str, Any]:
    """What the page shows: the state of the server and of each model, and lines to copy. address is HOST:PORT."""
    return {
        "ready": service.ready,
        "token": service.needs_token,
        "models": [_model(service, model, address) for model in service.repository.served()],
    }


def _model(service: Service, model: ServedModel, address: str) -> dict[str, Any]:
    shadow = service.shadows.get((model.name, model.version))
    success, counted = model.statistics.success, model.statistics
    shapes = {name: list(array[: _rows(model)].shape) for name, array in model.probe.feeds.items()}
    inputs = [{**_tensor(tensor), "example": shapes[tensor.name]} for tensor in model.signature.inputs.values()]
    path = f"/v2/models/{model.name}/versions/{model.version}"
    return {
        "name": model.name,
        "version": model.version,
        "ready": model.ready,
        "reason": model.why_not_ready,
        "batch": model.signature.max_batch,
        "inputs": inputs,
        "outputs": [_tensor(tensor) for tensor in model.signature.outputs.values()],
        "path": path,
        "requests": success.count,
        "failed": counted.fail.count,
        "waiting": model.batcher.waiting,
        "mean_ms": success.ns / max(success.count, 1) / 1e6,
        "shadow": shadow.record.in_words() if shadow else "",
        "engine_ms": counted.infer.ns / max(counted.infer.count, 1) / 1e6,
        "curl": curl_line(address, path, inputs, service.needs_token),
        "python": python_lines(address, model, inputs, service.needs_token),
    }


def _rows(model: ServedModel) -> int | None:
    """Rows of the goldens to show: the fewest that the model takes, where its batch is free."""
    least = max(tensor.bounds[0][0] if tensor.bounds else 1 for tensor in model.signature.inputs.values())
    return least if model.signature.max_batch else None


def _tensor(tensor: ServedTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "bounds": [[low, None if high == UNBOUNDED else high] for low, high in tensor.bounds],
        "steps": list(tensor.steps),
    }


def curl_line(address: str, path: str, inputs: list[dict[str, Any]], token: bool) -> str:
    """A command that asks the model about zeros; large bodies come from Python, through a pipe."""
    tensors = ", ".join(
        f"{{'name': {entry['name']!r}, 'shape': {entry['example']}, 'datatype': {entry['datatype']!r}, "
        f"'data': [{_zero(entry['datatype'])}] * {math.prod(entry['example'])}}}"
        for entry in inputs
    )
    program = f"import json; print(json.dumps({{'inputs': [{tensors}]}}))"
    key = ' -H "Authorization: Bearer $TOKEN"' if token else ""
    return f"python3 -c {shlex.quote(program)} | curl -s{key} http://{address}{path}/infer -d @-"


def python_lines(address: str, model: ServedModel, inputs: list[dict[str, Any]], token: bool) -> str:
    """A program with Triton's client that does the same."""
    lines = ["import numpy as np", "import tritonclient.http as triton", *(["import os"] if token else []), ""]
    lines.append(f"client = triton.InferenceServerClient({address!r})")
    for index, entry in enumerate(inputs):
        kind = "bool" if entry["datatype"] == "BOOL" else str(model.signature.inputs[entry["name"]].dtype)
        lines += [
            f"x{index} = triton.InferInput({entry['name']!r}, {entry['example']}, {entry['datatype']!r})",
            f"x{index}.set_data_from_numpy(np.zeros({entry['example']}, {kind!r}))",
        ]
    names = ", ".join(f"x{index}" for index in range(len(inputs)))
    key = ', headers={"Authorization": "Bearer " + os.environ["TOKEN"]}' if token else ""
    lines.append(f"answer = client.infer({model.name!r}, [{names}], model_version={model.version!r}{key})")
    lines.append(f"print(answer.as_numpy({next(iter(model.signature.outputs))!r}))")
    return "\n".join(lines)


def _zero(datatype: str) -> str:
    return "False" if datatype == "BOOL" else "0.0" if datatype.startswith("FP") else "0"
