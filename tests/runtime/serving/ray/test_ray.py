"""Ray Serve: the written configuration and, if Ray is installed, a deployment that answers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.api import load
from rectexport.runtime.errors import UsageError
from rectexport.runtime.serving.http.client import Client
from rectexport.runtime.serving.ray import host as ray_host
from rectexport.runtime.serving.ray.app import IMPORT_PATH, NAME, RaySettings
from tests.runtime.serving.conftest import ask, json_body

TOKEN = "a-token-of-some-length"


def test_serve_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    settings = RaySettings(packages=("a/1=/models/a",), replicas=(3, 5), num_gpus=0.5, token_file="/token")
    document = yaml.safe_load(ray_host.serve_yaml(settings, "127.0.0.1", 8123))
    assert document["http_options"]["port"] == 8123
    (application,) = document["applications"]
    assert application["import_path"] == IMPORT_PATH
    assert application["args"] == {
        "packages": ["a/1=/models/a"],
        "replicas": [3, 5],
        "num_gpus": 0.5,
        "token_file": "/token",
    }
    (deployment,) = application["deployments"]
    assert deployment["name"] == NAME and deployment["ray_actor_options"]["num_gpus"] == 0.5
    assert deployment["autoscaling_config"]["min_replicas"] == 3
    assert deployment["health_check_period_s"] > 0


@pytest.mark.parametrize("replicas", [(0, 1), (3, 2)])
def test_impossible_numbers_of_replicas_are_refused(replicas: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="smallest <= largest"):
        RaySettings(packages=(), replicas=replicas).check()


def test_an_address_reachable_by_others_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ray_host.HA_PROXY, raising=False)
    ray_host.check_reach("127.0.0.1", token=False, insecure=False)
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0"):
        ray_host.check_reach("0.0.0.0", token=False, insecure=False)
    monkeypatch.setenv(ray_host.HA_PROXY, "1")
    with pytest.raises(UsageError, match="every interface"):
        ray_host.check_reach("127.0.0.1", token=False, insecure=False)
    ray_host.check_reach("127.0.0.1", token=True, insecure=False)
    ray_host.check_reach("127.0.0.1", token=False, insecure=True)


@pytest.fixture(scope="module")
def deployed(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a deployment in two replicas."""
    pytest.importorskip("ray.serve")
    from benchmarks.serving_ray import ray_server

    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    with ray_server(exported, False, "--token-file", str(file)) as address:
        yield address


@pytest.mark.slow
def test_a_deployment_answers(deployed: str, exported: Path) -> None:
    with load(exported) as session:
        x = np.random.default_rng(3).standard_normal(session.package.goldens()[0]["x"].shape).astype(np.float32)
        (expected,) = session.run({"x": x}).values()
    assert ask(deployed, "/v2/health/ready").status == 200
    assert ask(deployed, "/v2/models/m/infer", json_body(x)).status == 401
    refused = ask(deployed, "/v2/models/m/infer", b"{}", Authorization=f"Bearer {TOKEN}")
    assert (refused.status, "inputs: expected" in refused.error) == (400, True)
    with Client(deployed, token=TOKEN) as client:
        (got,) = client.infer("m", {"x": x}).values()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def replica_pids() -> list[int]:
    found = subprocess.run(["pgrep", "-f", f"^ray::.*{NAME}"], capture_output=True, text=True).stdout
    return [int(word) for word in found.split()]


@pytest.mark.slow
def test_a_killed_replica_is_replaced(deployed: str, exported: Path) -> None:
    with load(exported) as session:
        feeds: dict[str, Any] = session.package.goldens()[0]
    before = replica_pids()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    with Client(deployed, token=TOKEN) as client:
        for _ in range(20):
            client.infer("m", feeds)
    end = time.monotonic() + 60
    while time.monotonic() < end and len(set(replica_pids()) - {before[0]}) < 2:
        time.sleep(0.2)
    assert len(set(replica_pids()) - {before[0]}) == 2
