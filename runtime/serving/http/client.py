"""A client that retries, so that no answer is lost while a server is being replaced.

Inference changes nothing on the server, so a request may be sent again after a reset connection and after 429, 500
and 503. It wraps tritonclient's HTTP or gRPC client.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, final

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array
from rectexport.runtime.serving.signature import DATATYPE_OF

T = TypeVar("T")
#: tritonclient's status of an answer after which a request is sent again, over HTTP and over gRPC.
RETRIED = ("429", "500", "503", "StatusCode.INTERNAL", "StatusCode.RESOURCE_EXHAUSTED", "StatusCode.UNAVAILABLE")
#: Names of the exceptions that HTTP libraries raise for a connection that ended; the libraries are not imported here.
_CONNECTION = ("HTTPConnectionClosed", "HTTPParseError", "ClientConnectionError", "ClientPayloadError", "SSLError")


@dataclass(frozen=True)
class Retry:
    """Retry policy: up to `attempts` calls, with pauses that double from `pause` to `longest` seconds.

    Each pause is shortened by a random share of up to one half.
    """

    attempts: int = 12
    pause: float = 0.02
    longest: float = 2.0

    def __call__(self, call: Callable[[], T]) -> T:
        """The call's result. Raises the error of the last attempt, or the first error that is not retried."""
        for pause in self._pauses():
            try:
                return call()
            except Exception as error:
                if not worth_another_try(error):
                    raise
            time.sleep(pause)
        return call()

    async def awaited(self, call: Callable[[], Awaitable[T]]) -> T:
        """The same for a coroutine function."""
        for pause in self._pauses():
            try:
                return await call()
            except Exception as error:
                if not worth_another_try(error):
                    raise
            await asyncio.sleep(pause)
        return await call()

    def _pauses(self) -> Iterator[float]:
        for turn in range(self.attempts - 1):
            yield min(self.pause * 2**turn, self.longest) * random.uniform(0.5, 1.0)


def worth_another_try(error: BaseException) -> bool:
    """Whether the connection ended, or the server answered that it failed or was busy."""
    if isinstance(error, ConnectionError | EOFError):
        return True
    if any(base.__name__ in _CONNECTION for base in type(error).__mro__):
        return True
    status = getattr(error, "status", None)
    return callable(status) and str(status()) in RETRIED


@final
class Client:
    """infer(model, arrays) -> arrays, with retries. Not thread-safe: give each thread its own client.

    >>> with Client("127.0.0.1:8000") as client:  # doctest: +SKIP
    ...     logits = client.infer("digits", {"x": images})["output"]

    protocol is http or grpc. Raises tritonclient.utils.InferenceServerException for a refused request.
    """

    def __init__(self, address: str, *, protocol: str = "http", token: str | None = None, retry: Retry | None = None):
        self._library = require(f"tritonclient.{protocol}")
        self._address, self._retry = address, retry or Retry()
        self._name = "Authorization" if protocol == "http" else "authorization"
        self._headers = {} if token is None else {self._name: f"Bearer {token}"}
        self._client: Any = None

    def infer(self, model: str, feeds: Mapping[str, Array], *, version: str = "", **options: Any) -> dict[str, Array]:
        """Inputs by name -> outputs by name, NumPy arrays; options are those of tritonclient's infer."""
        inputs = [self._input(name, array) for name, array in feeds.items()]
        options.setdefault("headers", self._headers)
        result = self._retry(lambda: self._connected().infer(model, inputs, model_version=version, **options))
        response = result.get_response()
        names = (
            [output["name"] for output in response["outputs"]]
            if isinstance(response, dict)
            else [output.name for output in response.outputs]
        )
        return {name: result.as_numpy(name) for name in names}

    def _input(self, name: str, array: Array) -> Any:
        given = self._library.InferInput(name, array.shape, DATATYPE_OF[array.dtype])
        given.set_data_from_numpy(array)
        return given

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._library.InferenceServerClient(self._address)
        return self._client

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
