"""Admission, identity, counting and logging of requests, whichever protocol they came in."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.repository import Repository
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.workers.hosted import ModelSpec
from tests.runtime.serving.conftest import run
from tests.runtime.serving.fake_worker import FakeWorker
from tests.runtime.tiny import dynamic_package

pytest.importorskip("prometheus_client")


def with_service(tmp_path: Path, test: Callable[[Service, io.StringIO], Awaitable[None]], **options: Any) -> None:
    package = ServedPackage("net", "1", dynamic_package(tmp_path / "tiny").path)

    async def serve() -> None:
        lines, limits = io.StringIO(), Limits(requests=2)
        log = Log(lines)
        models = Repository(lambda: [package], lambda spec: FakeWorker(), spec=ModelSpec(""), limits=limits, log=log)
        await models.load_all()
        await test(Service(models, limits, log, **options), lines)
        models.close()

    run(serve)


def test_the_token_is_checked_only_if_there_is_one(tmp_path: Path) -> None:
    async def guarded(service: Service, lines: io.StringIO) -> None:
        service.authorize("Bearer sesame")
        service.authorize("bearer  sesame ")
        for header in (None, "", "Bearer", "Bearer other", "Basic sesame", "sesame"):
            with pytest.raises(RequestError) as refused:
                service.authorize(header)
            assert refused.value.status == 401

    async def unguarded(service: Service, lines: io.StringIO) -> None:
        service.authorize(None)

    with_service(tmp_path / "a", guarded, token="sesame")
    with_service(tmp_path / "b", unguarded)


def test_requests_are_counted_by_outcome_and_failures_of_the_server_logged(tmp_path: Path) -> None:
    async def test(service: Service, lines: io.StringIO) -> None:
        model = service.repository.get("net")
        for fault in (None, RequestError(400, "private"), RequestError(500, "private")):
            service.enter("http")
            service.ended(model, "http", fault, time.perf_counter(), "r1")
        text = service.metrics.text().decode()
        for outcome in ("ok", "bad_request", "failed"):
            labels = f'model="net",outcome="{outcome}",protocol="http",version="1"'
            assert f"rectexport_requests_total{{{labels}}} 1.0" in text
        assert service.answered == 1 and service.admission.inside == 0
        assert (model.statistics.success.count, model.statistics.fail.count) == (1, 2)
        events = [json.loads(line) for line in lines.getvalue().splitlines()]
        assert [entry["outcome"] for entry in events if entry["event"] == "request"] == ["failed"]
        assert "private" not in lines.getvalue()
        service.reset_counts()
        assert service.answered == 0 and "outcome=" not in service.metrics.text().decode()
        assert service.statistics("net")[0]["inference_stats"]["success"]["count"] == 0

    with_service(tmp_path, test)


def test_a_full_or_draining_server_refuses_and_counts_it(tmp_path: Path) -> None:
    async def test(service: Service, lines: io.StringIO) -> None:
        service.enter("http")
        service.enter("grpc")
        with pytest.raises(RequestError, match="2 requests are being worked on"):
            service.enter("http")
        assert service.ready
        service.draining = True
        with pytest.raises(RequestError, match="going down"):
            service.enter("grpc")
        assert not service.ready and service.admission.inside == 2
        text = service.metrics.text().decode()
        assert 'outcome="too_many",protocol="http"' in text and 'outcome="unavailable",protocol="grpc"' in text

    with_service(tmp_path, test)


def test_only_short_printable_request_ids_are_kept(tmp_path: Path) -> None:
    async def test(service: Service, lines: io.StringIO) -> None:
        assert service.request_id("client-7") == "client-7"
        others = [service.request_id(given) for given in (None, "", "a b", "a\n", "x" * 129, "é")]
        assert len(set(others)) == 6 and all(len(entry) < 20 and entry.isascii() for entry in others)

    with_service(tmp_path, test)


def test_loading_must_be_allowed_at_the_start(tmp_path: Path) -> None:
    async def refused(service: Service, lines: io.StringIO) -> None:
        with pytest.raises(RequestError, match="--repository-api"):
            service.check_repository_api()

    async def allowed(service: Service, lines: io.StringIO) -> None:
        service.check_repository_api()

    with_service(tmp_path / "a", refused)
    with_service(tmp_path / "b", allowed, repository_api=True)
