"""Models are loaded, replaced and unloaded while others go on."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.repository import Repository
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.workers.hosted import ModelSpec
from tests.runtime.serving.conftest import run
from tests.runtime.serving.fake_worker import FakeWorker
from tests.runtime.tiny import dynamic_package


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return dynamic_package(tmp_path / "tiny").path


def repository(
    found: list[ServedPackage], workers: list[FakeWorker], fault: Callable[[], str | None] = lambda: None
) -> Repository:
    def make(spec: ModelSpec) -> FakeWorker:
        workers.append(FakeWorker(fault()))
        return workers[-1]

    log = Log(io.StringIO())
    return Repository(lambda: found, make, spec=ModelSpec(""), instances=2, limits=Limits(), log=log)


def test_the_highest_version_answers_for_a_name(path: Path) -> None:
    async def test() -> None:
        workers: list[FakeWorker] = []
        models = repository([ServedPackage("net", version, path) for version in ("9", "10")], workers)
        assert not models.ready
        await models.load_all()
        assert models.ready and len(workers) == 4 and models.versions("net") == ["9", "10"]
        assert models.get("net").version == "10" and models.get("net", "9").version == "9"
        assert models.get("net").signature.max_batch == 4
        for name, version in (("other", ""), ("net", "11")):
            with pytest.raises(RequestError, match="no model") as refused:
                models.get(name, version)
            assert refused.value.status == 404
        answer = await models.get("net").batcher.submit(models.get("net").probe)
        assert answer["y"].tolist() == Package.open(path).goldens()[0]["x"].tolist()
        await models.probe()
        models.close()
        assert all(worker.killed for worker in workers)

    run(test)


def test_a_version_that_does_not_load_leaves_the_old_ones_serving(path: Path) -> None:
    async def test() -> None:
        workers: list[FakeWorker] = []
        faults: list[str] = []
        models = repository([ServedPackage("net", "1", path)], workers, lambda: faults[0] if faults else None)
        await models.load_all()
        faults.append("no memory")
        with pytest.raises(RequestError, match="net cannot be loaded: no memory"):
            await models.load("net")
        assert models.ready and [worker.killed for worker in workers] == [False, False, True, True]
        assert models.index() == [{"name": "net", "version": "1", "state": "READY", "reason": "no memory"}]
        faults.clear()
        await models.load("net")
        assert models.ready and [worker.killed for worker in workers] == [True, True, True, True, False, False]
        models.close()

    run(test)


def test_an_unloaded_model_is_gone_but_listed(path: Path) -> None:
    async def test() -> None:
        workers: list[FakeWorker] = []
        models = repository([ServedPackage(name, "1", path) for name in ("net", "other")], workers)
        await models.load_all()
        await models.unload("net")
        states = [(entry["name"], entry["state"], entry.get("reason", "")) for entry in models.index()]
        assert states == [("net", "UNAVAILABLE", "unloaded"), ("other", "READY", "")]
        for call in (models.unload("net"), models.load("third")):
            with pytest.raises(RequestError) as refused:
                await call
            assert refused.value.status == 404
        models.close()

    run(test)


def test_a_package_that_cannot_be_served_stops_the_start(path: Path) -> None:
    async def test() -> None:
        models = repository([ServedPackage("net", "1", path)], [], lambda: "broken")
        with pytest.raises(BadInput, match="broken"):
            await models.load_all()
        assert not models.ready

    run(test)
