"""Malformed requests are client errors: they never cause a 5xx or a dead worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("tritonclient.grpc")

from hypothesis import HealthCheck, given, settings

from tests.runtime.serving.conftest import Running, ask, json_body
from tests.runtime.serving.http import malformed

FEW = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def served(serve: Callable[..., Running], trouble: Path) -> Running:
    return serve(trouble, "--deadline-s", 10)


@pytest.fixture(autouse=True)
def alive(served: Running) -> Any:
    yield
    assert ask(served.http, "/v2/models/trouble/infer", json_body([[2, 1, 0]])).status == 200
    assert not served.events("worker") and not served.events("internal_error") and served.process.poll() is None


@FEW
@given(request=malformed.http_requests())
def test_over_http(served: Running, request: Any) -> None:
    status = malformed.status_of(served.http, request)
    assert status < 500 or status == 504, request  # a request may ask for a deadline of a microsecond


@FEW
@given(data=malformed.grpc_requests())
def test_over_grpc(served: Running, data: bytes) -> None:
    assert malformed.grpc_code(served.grpc, data) not in malformed.FAULTS, data
