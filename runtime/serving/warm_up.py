"""Warm-up over the server's own socket, so that the first client's request is as fast as any other."""

from __future__ import annotations

import asyncio
import json
import re

from rectexport.runtime.serving.repository import ServedModel
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.workers.frames import flat

ROUNDS = 5
_LENGTH = re.compile(rb"content-length: (\d+)")


async def warm_up(service: Service, host: str, port: int, token: str | None) -> None:
    """Infer ROUNDS times with every model over HTTP, on its goldens, then set the counts back to zero."""
    reader, writer = await asyncio.open_connection(host, port)
    for model in service.repository.served():
        for _ in range(ROUNDS):
            writer.write(_message(model, token))
            head = await reader.readuntil(b"\r\n\r\n")
            found = _LENGTH.search(head)
            await reader.readexactly(int(found[1]) if found else 0)
    writer.close()
    service.reset_counts()


def _message(model: ServedModel, token: str | None) -> bytes:
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
    body = b"".join((document, *(flat(array) for array in feeds.values())))
    headers = [
        f"POST /v2/models/{model.name}/versions/{model.version}/infer HTTP/1.1",
        "Host: warm-up",
        "X-Request-Id: warm-up",
        f"Inference-Header-Content-Length: {len(document)}",
        f"Content-Length: {len(body)}",
        *([f"Authorization: Bearer {token}"] if token else []),
    ]
    return "\r\n".join([*headers, "\r\n"]).encode() + body
