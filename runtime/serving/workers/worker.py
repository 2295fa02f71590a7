"""The program of a worker process: one model, one batch at a time, over an inherited socket.

process.py starts it as `python -m rectexport.runtime.serving.workers.worker FD SPEC`. It ends when the socket is
closed.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from rectexport.runtime.base.runner import Array
from rectexport.runtime.errors import RectexportError, to_plain
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.serving.workers import frames
from rectexport.runtime.serving.workers.hosted import Feeds, HostedModel, ModelSpec


class Hosted(Protocol):
    """A model as a worker's program runs it."""

    signature: Signature
    remark: str
    seconds: float

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Infer once."""


def main(opened: Callable[[ModelSpec], Hosted] = HostedModel) -> None:
    """Open the model with `opened`, send "ready" or an error, then answer frames until the server closes the socket."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever an engine prints goes to the log
    link = socket.socket(fileno=int(sys.argv[1]))
    try:
        model = opened(ModelSpec(**json.loads(sys.argv[2])))
    except Exception as error:
        frames.send(link, {"error": explain(error), "parts": told(error)})
        return
    frames.send(link, {"ready": facts(model)})
    while (frame := frames.receive(link)) is not None:
        begin = time.perf_counter()
        try:
            outputs = model.run(frame[1])
        except Exception as error:
            frames.send(link, {"error": explain(error)})
            continue
        seconds = time.perf_counter() - begin
        frames.send(link, {"seconds": seconds, "tensors": frames.described(outputs)}, outputs.values())


def facts(model: Hosted) -> dict[str, object]:
    """Facts about an opened model, for the server: largest batch, seconds to open it, a remark."""
    return {"max_batch": model.signature.max_batch, "seconds": model.seconds, "remark": model.remark}


def explain(error: Exception) -> str:
    """The first line of an error's message, with its class unless the error is ours."""
    text = str(error).strip().splitlines()
    line = text[0][:500] if text else ""
    return line if isinstance(error, RectexportError) and line else f"{type(error).__name__}: {line}"


def told(error: Exception) -> list[Any]:
    """The same as the parts of an error's text, for `from_plain`."""
    text = explain(error)
    return to_plain(error) if isinstance(error, RectexportError) and str(error) == text else [text]


if __name__ == "__main__":
    main()
