"""The server process: HTTP and gRPC in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from rectexport.runtime.base.environment import require, usable_cores
from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.engines.backends import AUTO
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.serving.grpc.health import health_handlers
from rectexport.runtime.serving.grpc.service import GrpcService
from rectexport.runtime.serving.http.app import HttpApp
from rectexport.runtime.serving.http.protocol import protocol_with_timeout
from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.log import LibraryLines, Log
from rectexport.runtime.serving.page.page import overview
from rectexport.runtime.serving.repository import Repository
from rectexport.runtime.serving.served_packages import find_packages
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.shadow.shadow import Shadow, open_shadows
from rectexport.runtime.serving.telemetry.exporters import open_telemetry
from rectexport.runtime.serving.telemetry.telemetry import Telemetry
from rectexport.runtime.serving.warm_up import warm_up
from rectexport.runtime.serving.workers.hosted import ModelSpec
from rectexport.runtime.serving.workers.process import ProcessWorker
from rectexport.runtime.serving.workers.thread import ThreadWorker

BACKLOG = 1024
#: Seconds before the end of draining when requests in progress are answered with 503.
GIVE_UP = 0.5
#: Fewest characters of a token, and most bytes of its file.
LEAST_TOKEN, MAX_TOKEN_BYTES = 16, 16 << 10
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """How to serve. port 0 takes a free port; grpc_port None serves HTTP only; threads 0 divides the cores equally.

    shadow_share is the largest part of one processor's time that each shadow takes.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = 8001
    backend: str = AUTO
    allow_unproven: bool = False
    max_batch: int | None = None
    instances: int = 1
    threads: int = 0
    in_process: bool = False
    repository_api: bool = False
    token: str | None = None
    insecure: bool = False
    page: bool = True
    shadows: Sequence[str] = ()
    shadow_share: float = 0.05
    otel: bool = False
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Raise UsageError for an address that other machines can reach without a token."""
        if self.host not in LOOPBACK and self.token is None and not self.insecure:
            raise UsageError(
                f"--host {self.host}: anyone who reaches this address could use the server; "
                "give --token-file F, or --insecure if something else keeps them out"
            )


def read_token(path: Path) -> str:
    """The token in a file. Raises BadInput when it cannot be read, is too short, or holds spaces or non-ASCII."""
    try:
        token = read_bounded(path, MAX_TOKEN_BYTES).decode().strip()
    except (BadInput, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: no token can be read: {error}") from None
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise BadInput(f"{path}: a token has at least {LEAST_TOKEN} printable ASCII characters, without spaces")
    return token


def make_repository(
    words: Sequence[str], settings: Settings, log: Log, telemetry: Telemetry | None = None
) -> Repository:
    """The repository for the packages that the words name (see find_packages), not loaded yet.

    Call it in the event loop that will use it.
    """
    threads = settings.threads or max(1, usable_cores() // settings.instances)
    spec = ModelSpec("", settings.backend, threads, settings.max_batch, settings.allow_unproven)
    make = ThreadWorker if settings.in_process else ProcessWorker
    return Repository(
        lambda: find_packages(words),
        make,
        spec=spec,
        instances=settings.instances,
        limits=settings.limits,
        log=log,
        telemetry=telemetry,
    )


def run(words: Sequence[str], settings: Settings, log: Log) -> int:
    """Serve the packages that the words name (see find_packages) until SIGTERM or SIGINT, then finish open requests.

    Returns the number of requests answered. Raises UsageError for settings that contradict each other, BadInput for
    a package or an address that cannot be used, and MissingDependency for a missing library or device.
    """
    settings.check()
    require("uvicorn")
    with contextlib.suppress(ImportError):  # uvloop does not exist for Windows
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return asyncio.run(_serve(words, settings, log))


async def _serve(words: Sequence[str], settings: Settings, log: Log) -> int:
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(_listen(settings.host, settings.port))
        telemetry = open_telemetry() if settings.otel else None
        if telemetry is not None:
            stack.callback(telemetry.close)
        repository = make_repository(words, settings, log, telemetry)
        stack.callback(repository.close)
        await repository.load_all()
        gc.collect()
        gc.freeze()  # these objects live as long as the server: the garbage collector need not scan them again
        service = Service(
            repository, settings.limits, log, token=settings.token, repository_api=settings.repository_api
        )
        shadows = await _open_shadows(settings, repository, log)
        for shadow in shadows.values():
            stack.callback(shadow.close)
        await _Host(service, settings, log, shadows, telemetry).serve(link)
        return service.answered


async def _open_shadows(settings: Settings, repository: Repository, log: Log) -> dict[tuple[str, str], Shadow]:
    sources = []
    for word in settings.shadows:
        found = find_packages([word])
        if len(found) > 1:
            raise UsageError(f"--shadow {word}: holds {len(found)} packages; name one")
        sources += found
    spec = ModelSpec("", settings.backend, allow_unproven=settings.allow_unproven)
    return await open_shadows(sources, settings.shadows, repository, spec, log, settings.shadow_share)


@final
class _Host:
    """Runs uvicorn and grpc side by side; SIGTERM and SIGINT end both."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        log: Log,
        shadows: Mapping[tuple[str, str], Shadow],
        telemetry: Telemetry | None,
    ) -> None:
        self._service, self._settings, self._log, self._shadows = service, settings, log, shadows
        self._telemetry = telemetry
        self._web = _web_server(service, settings, log)

    async def serve(self, link: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        rpc, rpc_port = await self._start_grpc()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        host, port = link.getsockname()[:2]
        serving = loop.create_task(self._web.serve(sockets=[link]))
        while not self._web.started and not serving.done():
            await asyncio.sleep(0.01)
        await warm_up(self._service, host, port, self._settings.token)
        self._service.shadows, self._service.telemetry = self._shadows, self._telemetry
        if self._telemetry is not None:
            self._telemetry.watch(self._service.repository.served)
        self._announce(f"{self._bracketed}:{port}", f"{host}:{rpc_port}" if rpc_port else None, f"{host}:{port}")
        await serving
        if rpc is not None:
            await rpc.stop(self._settings.limits.drain)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._service.repository.drain(), self._settings.limits.drain)
        self._log.event("stopped", answered=self._service.answered)

    def _announce(self, address: str, grpc: str | None, http: str) -> None:
        """Log where the server listens, with the page's address and a command that works."""
        model = overview(self._service, address)["models"][0]
        page = f"http://{address}/" if self._settings.page else None
        if not self._log.for_people:
            self._log.event("serving", http=http, grpc=grpc, page=page, curl=model["curl"])
            return
        self._log.event("serving", http=http, grpc=grpc)
        self._log.lines(*([f"Open {page} in a browser, or try:"] if page else ["Try:"]), f"  {model['curl']}")

    def _stop(self) -> None:
        """First signal: refuse new requests and finish the open ones. Second signal: end now."""
        if self._service.draining:
            self._web.force_exit = True
            self._service.give_up()
        else:  # before the transports cancel what is left: a client must see 503 or UNAVAILABLE
            drain = self._settings.limits.drain
            asyncio.get_running_loop().call_later(max(drain - GIVE_UP, drain / 2), self._service.give_up)
        self._log.event("draining", inside=self._service.admission.inside)
        self._service.leave()
        self._web.should_exit = True

    async def _start_grpc(self) -> tuple[Any, int | None]:
        if self._settings.grpc_port is None:
            return None, None
        grpc = require("grpc")
        body = self._settings.limits.body
        options = [
            ("grpc.max_receive_message_length", body),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((GrpcService(self._service).handlers(), health_handlers(self._service)))
        address = f"{self._bracketed}:{self._settings.grpc_port}"
        try:
            port = server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if not port:
            raise BadInput(f"{address}: gRPC cannot listen here; is the port taken? choose another with --grpc-port")
        await server.start()
        return server, port

    @property
    def _bracketed(self) -> str:
        host = self._settings.host
        return f"[{host}]" if ":" in host else host


def _web_server(service: Service, settings: Settings, log: Log) -> Any:
    uvicorn = require("uvicorn")
    for name in ("uvicorn", "uvicorn.error", "asyncio", "grpc", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [LibraryLines(log)], False
    config = uvicorn.Config(
        HttpApp(service, page=settings.page),
        http=protocol_with_timeout(settings.limits.receive),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        date_header=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.limits.drain),
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # we handle the signals: gRPC has to drain as well
    return server


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise BadInput(f"{host}:{port}: cannot listen here: {error.strerror}; choose another --port") from None
