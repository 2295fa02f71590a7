"""Warm-up over the server's own socket, so that the first client's request is as fast as any other."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Sequence

from rectexport.runtime.errors import BadInput
from rectexport.runtime.serving.repository import ServedModel
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.workers.frames import flat

ROUNDS = 5
Message = tuple[str, bytes, dict[str, str]]


async def warm_up(service: Service, host: str, port: int, token: str | None) -> None:
    """Infer ROUNDS times with every model over HTTP, on its goldens, then set the counts back to zero.

    Raises BadInput when a model does not answer.
    """
    messages = [_message(model, token) for model in service.repository.served() for _ in range(ROUNDS)]
    await asyncio.to_thread(_send, messages, host, port, service.limits.deadline)
    service.reset_counts()


def _send(messages: Sequence[Message], host: str, port: int, seconds: float) -> None:
    """Send the requests one after the other on one connection."""
    connection = http.client.HTTPConnection(host, port, timeout=2 * seconds)
    try:
        for path, body, headers in messages:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise BadInput(f"{path}: the first request was answered with {response.status}: {text[:300]!r}")
    except (OSError, http.client.HTTPException) as error:
        raise BadInput(f"{host}:{port}: the server did not answer its first request: {error!r}") from None
    finally:
        connection.close()


def _message(model: ServedModel, token: str | None) -> Message:
    feeds = model.probe.feeds
    inputs = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": model.signature.inputs[name].datatype,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in feeds.items()
    ]
    document = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"X-Request-Id": "warm-up", "Inference-Header-Content-Length": str(len(document))}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = b"".join((document, *(flat(array) for array in feeds.values())))
    return f"/v2/models/{model.name}/versions/{model.version}/infer", body, headers
