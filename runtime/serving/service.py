"""The server's work that all protocols share: admit, infer, count and log requests, report readiness."""

from __future__ import annotations

import asyncio
import base64
import hmac
import itertools
import os
import re
import time
from collections.abc import Mapping
from typing import Any, final

from rectexport.runtime.base.environment import version
from rectexport.runtime.serving.batcher import Outputs
from rectexport.runtime.serving.limits import Admission, Limits
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.metrics import Metrics
from rectexport.runtime.serving.repository import Repository, ServedModel
from rectexport.runtime.serving.request import InferRequest
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.shadow.record import Record
from rectexport.runtime.serving.shadow.shadow import Shadow
from rectexport.runtime.serving.telemetry.telemetry import Telemetry

EXTENSIONS = ("classification", "binary_tensor_data", "model_configuration", "model_repository", "statistics")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


@final
class Service:
    """Shared by the protocols of one server. While draining, new requests are refused."""

    def __init__(
        self,
        repository: Repository,
        limits: Limits,
        log: Log,
        *,
        token: str | None = None,
        repository_api: bool = False,
    ) -> None:
        self.repository, self.limits, self.log = repository, limits, log
        self.admission = Admission(limits.requests)
        self.metrics = Metrics(repository, log, self._shadow_records)
        self.repository_api = repository_api
        self.draining = False
        #: Set when the server begins to end: streams that wait for a request end too.
        self.leaving = asyncio.Event()
        self.answered = 0
        #: (name, version) -> what gets the same requests; set once the server is warm.
        self.shadows: Mapping[tuple[str, str], Shadow] = {}
        #: Makes spans, where the server was started with --otel; set once the server is warm.
        self.telemetry: Telemetry | None = None
        self._token = None if token is None else token.encode()
        self._ids = map(f"{os.urandom(4).hex()}-{{}}".format, itertools.count(1))

    def reset_counts(self) -> None:
        """Set all metrics and statistics to zero."""
        self.metrics, self.answered = Metrics(self.repository, self.log, self._shadow_records), 0
        for model in self.repository.served():
            model.statistics.clear()

    def _shadow_records(self) -> dict[tuple[str, str], Record]:
        return {key: shadow.record for key, shadow in self.shadows.items()}

    def leave(self) -> None:
        """Refuse new requests from now on; those that are in progress are finished."""
        self.draining = True
        self.leaving.set()

    def give_up(self) -> None:
        """Answer the requests that are still in progress with 503."""
        for model in self.repository.served():
            model.batcher.refuse("the server is going down", running=True)

    @property
    def ready(self) -> bool:
        """Whether an inference would succeed: not draining, and each model has a live worker."""
        return not self.draining and self.repository.ready

    @property
    def needs_token(self) -> bool:
        """Whether clients must send a token."""
        return self._token is not None

    def authorize(self, header: str | None, *, basic: bool = False) -> None:
        """Check `Bearer TOKEN` in constant time; with basic also `Basic`, the token as password.

        Raises RequestError 401.
        """
        if self._token is None:
            return
        scheme, _, given = (header or "").partition(" ")
        if basic and scheme.lower() == "basic":
            scheme, given = "bearer", _password(given)
        if not hmac.compare_digest(given.strip().encode(), self._token) or scheme.lower() != "bearer":
            raise RequestError(401, "expected the header Authorization: Bearer TOKEN")

    def enter(self, protocol: str, carrier: Mapping[str, str] | None = None) -> Any:
        """Admit a request; call ended() once for each, with the span that this returns. carrier holds its headers.

        Raises RequestError 429 at the limit and 503 while draining; both are counted.
        """
        span = self.telemetry and self.telemetry.start(protocol, carrier or {})
        try:
            if self.draining:
                raise RequestError(503, "the server is going down")
            self.admission.enter()
        except RequestError as fault:
            self.metrics.ended("", "", protocol, fault.label, 0.0)
            if self.telemetry and span is not None:
                self.telemetry.ended(span, ("", ""), protocol, fault.label, 0.0, "")
            raise
        return span

    def request_id(self, given: str | None) -> str:
        """The client's id if it is 1 to 128 printable ASCII characters without spaces, else a new one."""
        return given if given and _REQUEST_ID.fullmatch(given) else next(self._ids)

    def begin(self, model: ServedModel, request: InferRequest, span: Any = None) -> asyncio.Future[Outputs]:
        """Queue a request. Raises RequestError 429, or 503 when no worker can be started."""
        if not model.ready and model.pool.trouble:
            raise RequestError(503, f"model {model.name} has no worker: {model.pool.trouble}")
        answer = model.batcher.submit(request, span)
        if self.shadows and (shadow := self.shadows.get((model.name, model.version))) is not None:
            answer.add_done_callback(lambda answer: _offer(shadow, request, answer))
        return answer

    def ended(
        self,
        model: ServedModel | None,
        protocol: str,
        fault: RequestError | None,
        began: float,
        id: str,
        span: Any = None,
    ) -> None:
        """Count a request, end its span, and log it if the server failed or every request is logged."""
        self.admission.leave()
        seconds = time.perf_counter() - began
        outcome = fault.label if fault else "ok"
        name, number = (model.name, model.version) if model else ("", "")
        self.metrics.ended(name, number, protocol, outcome, seconds)
        if self.telemetry and span is not None:
            self.telemetry.ended(span, (name, number), protocol, outcome, seconds, id)
        if model:
            (model.statistics.fail if fault else model.statistics.success).add(seconds)
        if fault is None:
            self.answered += 1
        if self.log.requests or (fault and fault.status >= 500):
            fields = {"id": id, "model": name, "version": number, "protocol": protocol, "outcome": outcome}
            self.log.event("request", **fields, ms=round(seconds * 1e3, 3))

    def require_loaded(self, name: str, number: str) -> None:
        """Raise RequestError 400 for a model that is not loaded: what Triton answers about statistics and readiness."""
        try:
            self.repository.get(name, number)
        except RequestError as fault:
            raise RequestError(400, str(fault)) from None

    def check_repository_api(self) -> None:
        """Raise RequestError 404 unless the server was started with the repository API."""
        if not self.repository_api:
            raise RequestError(404, "the repository API is off; start the server with --repository-api")

    def statistics(self, name: str = "", number: str = "") -> list[dict[str, Any]]:
        """model_stats of all loaded models, of one model's versions, or of one version. Raises RequestError 404."""
        if name:
            self.repository.get(name, number)
        return [
            model.statistics.as_dict(model.name, model.version)
            for model in self.repository.served()
            if name in ("", model.name) and number in ("", model.version)
        ]

    def shadow_report(self, name: str, number: str = "") -> dict[str, Any]:
        """What the shadow of a model has found. Raises RequestError 404 for a model without one."""
        model = self.repository.get(name, number)
        shadow = self.shadows.get((model.name, model.version))
        if shadow is None:
            raise RequestError(404, f"model {name} has no shadow; start the server with --shadow")
        return {"name": model.name, "version": model.version, **shadow.report()}

    def metadata(self) -> dict[str, Any]:
        """The protocol's server metadata."""
        return {"name": "rectexport", "version": version("rectexport") or "", "extensions": list(EXTENSIONS)}


def _offer(shadow: Shadow, request: InferRequest, answer: asyncio.Future[Outputs]) -> None:
    if not answer.cancelled() and answer.exception() is None:
        shadow.offer(request, answer.result())


def _password(given: str) -> str:
    """The password in the credentials of Basic; empty where there is none."""
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
