"""The Open Inference Protocol v2 over HTTP, as a plain ASGI application that any ASGI server can host."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, final

from rectexport.runtime.serving.batcher import Outputs
from rectexport.runtime.serving.http.codec import Codec
from rectexport.runtime.serving.http.compression import accepted, compressed, decompressed
from rectexport.runtime.serving.http.protocol import LEFT
from rectexport.runtime.serving.page.page import HEADERS, MARK, OVERVIEW, overview, read_files
from rectexport.runtime.serving.repository import ServedModel
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.triton.config import as_dict, model_config

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]
Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]

_JSON = [(b"content-type", b"application/json")]
_BYTES = (b"content-type", b"application/octet-stream")
_HEADER_LENGTH = b"inference-header-content-length"
#: Headers that must not be repeated.
_SINGLE = frozenset(
    (_HEADER_LENGTH, b"authorization", b"content-encoding", b"content-length", b"content-type", b"host")
)
_ADDRESS = re.compile(r"[A-Za-z0-9.\[\]:_-]{1,255}")
#: Bytes of an answer that is compressed in the event loop.
SMALL = 64 << 10
#: Messages of 405, and the methods that the Allow header names.
READ, SEND = "expected GET", "expected POST"
ALLOWED = {READ: b"GET, HEAD", SEND: b"POST"}


@final
class HttpApp:
    """The ASGI callable, with the page at GET / if it is asked for.

    With a token set, every path but /v2/health requires it: health probes send none.
    """

    def __init__(self, service: Service, *, page: bool = False) -> None:
        self._service = service
        self._codec = Codec()
        self._files = read_files() if page else {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        headers: Headers = dict(scope["headers"])
        id = self._service.request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        try:
            _refuse_twice(scope["headers"])
            status, body, extra = await self._route(scope, receive, headers, id)
        except RequestError as fault:
            if fault.status == 499:
                return
            status, body, extra = fault.status, self._codec.dumps({"error": str(fault)}), _refused(fault)
            if allowed := ALLOWED.get(str(fault)) if status == 405 else None:
                extra.append((b"allow", allowed))
        except Exception as error:
            self._service.log.event("internal_error", id=id, error=type(error).__name__)
            status, body, extra = 500, b'{"error":"internal error"}', _JSON
        length = str(len(body)).encode()
        fields = [*extra, (b"content-length", length), (b"x-request-id", id.encode())]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def _route(self, scope: Message, receive: Receive, headers: Headers, id: str) -> Answer:
        path = scope["path"].strip("/").split("/")
        match path:
            case ["v2", "models", name, "infer"]:
                return await self._infer(scope, receive, headers, id, name, "")
            case ["v2", "models", name, "versions", number, "infer"]:
                return await self._infer(scope, receive, headers, id, name, number)
            case ["v2", "repository", *rest]:
                return await self._repository(scope, receive, headers, rest)
        if self._files and len(path) == 1 and path[0] in (*self._files, OVERVIEW):
            return self._show(path[0], scope["method"], headers)
        if not _known(path):
            raise RequestError(404, "no such path")
        if scope["method"] not in ("GET", "HEAD"):
            raise RequestError(405, READ)
        if path[:2] == ["v2", "health"]:
            return self._health(path[2:])
        self._authorize(headers)
        if path == ["metrics"]:
            return 200, self._service.metrics.text(), [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
        return 200, self._codec.dumps(self._describe(path)), _JSON

    def _show(self, name: str, method: str, headers: Headers) -> Answer:
        """A file of the page, or the document that it shows."""
        if method not in ("GET", "HEAD"):
            raise RequestError(405, READ)
        try:
            self._authorize(headers, from_page=True)
        except RequestError as fault:
            if MARK in headers:
                raise
            words = b"this page needs the server's token, as the password; any name will do\n"
            return fault.status, words, [(b"www-authenticate", b'Basic realm="rectexport"'), *HEADERS]
        if name == OVERVIEW:
            address = headers.get(b"host", b"").decode("latin-1")
            known = address if _ADDRESS.fullmatch(address) else "localhost"
            return 200, self._codec.dumps(overview(self._service, known)), [*_JSON, *HEADERS]
        content, kind = self._files[name]
        return 200, content, [(b"content-type", kind), *HEADERS]

    def _health(self, path: list[str]) -> Answer:
        good = path == ["live"] or self._service.ready
        return 200 if good else 503, b"", _JSON

    def _describe(self, path: list[str]) -> Any:
        """The document of a GET path: metadata, config, statistics or readiness. Raises RequestError 404 or 503."""
        service, repository = self._service, self._service.repository
        match path:
            case ["v2"]:
                return service.metadata()
            case ["v2", "models", "stats"]:
                return {"model_stats": service.statistics()}
            case ["v2", "models", name, *rest]:
                number, what = _version(rest)
                if what == "shadow":
                    return service.shadow_report(name, number)
                if what in ("stats", "ready"):
                    service.require_loaded(name, number)
                if what == "stats":
                    return {"model_stats": service.statistics(name, number)}
                model = repository.get(name, number)
                if what == "":
                    return model.metadata([number] if number else repository.versions(name))
                if what == "config":
                    return as_dict(model_config(name, model.signature))
                if what == "ready":
                    if not model.ready:
                        raise RequestError(503, f"model {name} is not ready: {model.why_not_ready}")
                    return {"name": name, "ready": True}
        raise RequestError(404, "no such path")

    async def _infer(
        self, scope: Message, receive: Receive, headers: Headers, id: str, name: str, number: str
    ) -> Answer:
        service, began = self._service, time.perf_counter()
        if scope["method"] != "POST":
            raise RequestError(405, SEND)
        self._authorize(headers)
        span = service.enter("http", _carrier(headers) if service.telemetry else None)
        model: ServedModel | None = None
        fault: RequestError | None = None
        try:
            model = service.repository.get(name, number)
            body = await self._body(receive, headers)
            request = self._codec.parse(body, _header_length(headers), model.signature)
            outputs = await _unless_left(scope, receive, service.begin(model, request, span))
            batched = model.signature.max_batch > 0
            content, length = self._codec.answer(request, outputs, model.name, model.version, batched)
        except RequestError as error:
            fault = error
            raise
        except BaseException:
            fault = RequestError(500, "internal error")
            raise
        finally:
            service.ended(model, "http", fault, began, id, span)
        fields = list(_JSON) if length is None else [_BYTES, (_HEADER_LENGTH, str(length).encode())]
        encoding = accepted(headers[b"accept-encoding"]) if b"accept-encoding" in headers else b""
        if encoding:
            small = len(content) <= SMALL  # a large one would hold up every other request
            content = compressed(content, encoding) if small else await asyncio.to_thread(compressed, content, encoding)
            fields += [(b"content-encoding", encoding), (b"vary", b"accept-encoding")]
        return 200, content, fields

    async def _repository(self, scope: Message, receive: Receive, headers: Headers, path: list[str]) -> Answer:
        service = self._service
        if path != ["index"] and not (len(path) == 3 and path[0] == "models" and path[2] in ("load", "unload")):
            raise RequestError(404, "no such path")
        if scope["method"] != "POST":
            raise RequestError(405, SEND)
        self._authorize(headers)
        body = await self._body(receive, headers)
        match path:
            case ["index"]:
                only_ready = bool(body) and self._codec.document(body).get("ready") is True
                return 200, self._codec.dumps(service.repository.index(only_ready)), _JSON
            case ["models", name, ("load" | "unload") as action]:
                service.check_repository_api()
                if action == "load":
                    if body and self._codec.document(body).get("parameters"):
                        raise RequestError(400, "load takes no parameters: a package is served unchanged")
                    await service.repository.load(name)
                else:
                    await service.repository.unload(name)
                return 200, b"", _JSON
        raise RequestError(404, "no such path")

    async def _body(self, receive: Receive, headers: Headers) -> bytes:
        limit = self._service.limits.body
        if headers.get(b"content-length", b"0").isdigit() and int(headers.get(b"content-length", b"0")[:19]) > limit:
            raise RequestError(413, f"the body has more than {limit} bytes")
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            chunks, size = [body], len(body)
            while message.get("more_body"):
                message = await receive()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limit:
                    raise RequestError(413, f"the body has more than {limit} bytes")
            body = b"".join(chunks)
        if message["type"] == "http.disconnect":
            raise RequestError(499, "the client closed the connection")
        encoding = headers.get(b"content-encoding")
        return body if encoding is None else decompressed(body, encoding.lower(), limit)

    def _authorize(self, headers: Headers, *, from_page: bool = False) -> None:
        """Check the token. A browser sends it as the password of Basic, for the page and the page's own requests."""
        given = headers.get(b"authorization")
        basic = bool(self._files) and (from_page or MARK in headers)
        self._service.authorize(None if given is None else given.decode("latin-1"), basic=basic)


async def _unless_left(scope: Message, receive: Receive, answer: asyncio.Future[Outputs]) -> Outputs:
    """The answer. A client that disconnects removes its request from the queue; then this raises RequestError 499."""
    left = scope.get("extensions", {}).get(LEFT)
    watcher = None if left is not None else asyncio.ensure_future(_watch(receive, answer))
    if left is not None:
        left.add(answer)
    try:
        return await answer
    except asyncio.CancelledError:
        raise RequestError(499, "the client closed the connection") from None
    finally:
        if watcher is None:
            left.discard(answer)
        else:
            watcher.cancel()


async def _watch(receive: Receive, answer: asyncio.Future[Outputs]) -> None:
    """Cancel the answer when the client disconnects, in servers without our ASGI extension."""
    while (await receive())["type"] != "http.disconnect":
        pass
    answer.cancel()


def _carrier(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


def _header_length(headers: Headers) -> int | None:
    value = headers.get(_HEADER_LENGTH)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise RequestError(400, "Inference-Header-Content-Length: expected a number of bytes")
    return int(value)


def _known(path: list[str]) -> bool:
    """Whether a path that answers GET has this form; the model that it names may be unknown."""
    match path:
        case ["metrics"] | ["v2"] | ["v2", "health", "live" | "ready"] | ["v2", "models", "stats"]:
            return True
        case ["v2", "models", _, *rest]:
            return rest[-1:] != ["infer"] and (len(rest) < 2 or rest[0] == "versions") and len(rest) < 4
    return False


def _refuse_twice(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise RequestError 400 for a header that decides something and is there twice: either could be the one meant."""
    names = [name for name, _ in fields if name in _SINGLE]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(400, f"header {twice.decode()} is given twice")


def _version(rest: list[str]) -> tuple[str, str]:
    """Version and kind of document, from the part of a path that follows the model's name."""
    match rest:
        case ["versions", number]:
            return number, ""
        case ["versions", number, ("ready" | "config" | "stats" | "shadow") as what]:
            return number, what
        case [("ready" | "config" | "stats" | "shadow") as what]:
            return "", what
        case []:
            return "", ""
    raise RequestError(404, "no such path")


def _refused(fault: RequestError) -> list[tuple[bytes, bytes]]:
    fields = list(_JSON)
    if fault.status in (429, 503):
        fields.append((b"retry-after", b"1"))
    if fault.status == 401:
        fields.append((b"www-authenticate", b"Bearer"))
    return fields


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
