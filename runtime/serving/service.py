"""What a server does, whichever protocol asks: infer, count, log, say whether it is ready."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import os
import re
import time
from typing import Any, final

from rectexport.runtime.base.environment import version
from rectexport.runtime.serving.batcher import Outputs
from rectexport.runtime.serving.limits import Admission, Limits
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.metrics import Metrics
from rectexport.runtime.serving.refusal import Refusal
from rectexport.runtime.serving.repository import Repository, Served
from rectexport.runtime.serving.request import InferRequest

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


@final
class Service:
    """Shared by the protocols of one server. draining: nothing new is begun."""

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
        self.metrics = Metrics(repository)
        self.repository_api = repository_api
        self.draining = False
        self.answered = 0
        self._token = None if token is None else token.encode()
        self._ids = map(f"{os.urandom(4).hex()}-{{}}".format, itertools.count(1))

    def forget(self) -> None:
        """Start counting anew."""
        self.metrics, self.answered = Metrics(self.repository), 0
        for model in self.repository.served():
            model.statistics.clear()

    @property
    def ready(self) -> bool:
        """Whether an inference would succeed: each model has a worker that has inferred."""
        return not self.draining and self.repository.ready

    def authorize(self, header: str | None) -> None:
        """Check `Bearer TOKEN` in constant time. Raises Refusal 401."""
        if self._token is None:
            return
        scheme, _, given = (header or "").partition(" ")
        if not hmac.compare_digest(given.strip().encode(), self._token) or scheme.lower() != "bearer":
            raise Refusal(401, "expected the header Authorization: Bearer TOKEN")

    def enter(self, protocol: str) -> None:
        """Begin a request; raises Refusal 429 or 503, counted. Every one that is begun must be ended."""
        try:
            if self.draining:
                raise Refusal(503, "the server is going down")
            self.admission.enter()
        except Refusal as refusal:
            self.metrics.ended("", "", protocol, refusal.label, 0.0)
            raise

    def request_id(self, given: str | None) -> str:
        """The client's id where it is a short printable word, else one of ours."""
        return given if given and _REQUEST_ID.fullmatch(given) else next(self._ids)

    def begin(self, model: Served, request: InferRequest) -> asyncio.Future[Outputs]:
        """Queue a request. Raises Refusal 429, or 503 when no worker can be started."""
        if not model.ready and model.pool.trouble:
            raise Refusal(503, f"model {model.name} has no worker: {model.pool.trouble}")
        return model.batcher.submit(request)

    def ended(self, model: Served | None, protocol: str, refusal: Refusal | None, began: float, id: str) -> None:
        """Count a request, and log it when it failed here or all are to be logged."""
        self.admission.leave()
        seconds = time.perf_counter() - began
        outcome = refusal.label if refusal else "ok"
        name, number = (model.name, model.version) if model else ("", "")
        self.metrics.ended(name, number, protocol, outcome, seconds)
        if model:
            (model.statistics.fail if refusal else model.statistics.success).add(seconds)
        if refusal is None:
            self.answered += 1
        if self.log.requests or (refusal and refusal.status >= 500):
            fields = {"id": id, "model": name, "version": number, "protocol": protocol, "outcome": outcome}
            self.log.event("request", **fields, ms=round(seconds * 1e3, 3))

    def check_repository_api(self) -> None:
        """Raises Refusal 404 unless loading and unloading were asked for at the start."""
        if not self.repository_api:
            raise Refusal(404, "the repository API is off; start the server with --repository-api")

    def statistics(self, name: str = "", number: str = "") -> list[dict[str, Any]]:
        """model_stats of everything loaded, of one model's versions, or of one version. Raises Refusal 404."""
        if name:
            self.repository.get(name, number)
        return [
            model.statistics.as_dict(model.name, model.version)
            for model in self.repository.served()
            if name in ("", model.name) and number in ("", model.version)
        ]

    def metadata(self) -> dict[str, Any]:
        """The protocol's server metadata."""
        return {"name": "rectexport", "version": version("rectexport") or "", "extensions": list(EXTENSIONS)}
