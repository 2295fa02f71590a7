"""Whether an engine agrees: by its proof, by what this machine found before, or by the goldens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rectexport.runtime.base.processor import Processor, processor
from rectexport.runtime.base.runner import BackendOptions
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.engines import backends
from rectexport.runtime.engines.backends import Backend, choose_backend
from rectexport.runtime.engines.proving import VerdictCache, judge, verdict_on
from rectexport.runtime.errors import BadInput, Option, ParityError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.proofs import AGREES, DIFFERS, Proof
from tests.runtime.tiny import dynamic_package

OTHER = Processor("other", ())


class Engine:
    """A runner that answers with y = conv(x, ones) times a factor, and counts its runs."""

    description = "Engine 1"
    inputs = outputs = ()

    def __init__(self, factor: float = 1.0, fails: bool = False) -> None:
        self.factor, self.fails, self.runs, self.closed = factor, fails, 0, False

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.runs += 1
        if self.fails:
            raise BadInput("Engine could not run")
        x = np.pad(feeds["x"], ((0, 0), (0, 0), (1, 1), (1, 1)))
        height, width = feeds["x"].shape[2:]
        y = sum(x[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))
        y[..., 0, :] *= self.factor
        return {"y": y.astype(np.float32)}

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/rectexport/verdicts.json"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return dynamic_package(tmp_path / "tiny")


def with_proof(package: Package, **changes: Any) -> Package:
    proof = replace(Proof("engine", "1", "float32", processor(), AGREES, 3), **changes)
    manifest = replace(package.manifest, data={**package.manifest.data, "proofs": [proof.as_dict()]})
    return replace(package, manifest=manifest)


def ask(package: Package, engine: Engine, version: str = "1", here: Processor | None = None) -> Any:
    return verdict_on(package, "engine", version, engine, lambda text: None, here)  # type: ignore[arg-type]


def test_a_proof_for_this_machine_is_believed_without_a_run(package: Package) -> None:
    engine = Engine(factor=2)
    assert ask(with_proof(package), engine).agrees
    verdict = ask(with_proof(package, verdict=DIFFERS, reason="output y"), engine)
    assert (verdict.agrees, verdict.reason, verdict.basis) == (False, "output y", "proof")
    assert engine.runs == 0


@pytest.mark.parametrize("here", [None, OTHER])
def test_without_one_the_goldens_are_run_once(package: Package, here: Processor | None) -> None:
    package = with_proof(package, version="0") if here is None else with_proof(package)
    engine = Engine()
    assert [ask(package, engine, here=here).basis for _ in range(3)] == ["goldens", "cache", "cache"]
    assert engine.runs == 1


def test_a_difference_names_output_region_and_distance_and_is_remembered(package: Package) -> None:
    engine = Engine(factor=1.5)
    first, again = ask(package, engine), ask(package, engine)
    assert first.agrees is False and (again.agrees, again.reason, again.basis) == (False, first.reason, "cache")
    assert first.reason.startswith("output y: relative L2 ") and "in region edge" in first.reason
    assert engine.runs == 1


def test_an_engine_that_cannot_run_the_goldens_does_not_agree(package: Package) -> None:
    verdict = ask(package, Engine(fails=True))
    assert verdict.agrees is False and "could not run" in verdict.reason


def test_another_version_or_another_model_is_compared_anew(package: Package, tmp_path: Path) -> None:
    engine = Engine()
    ask(package, engine)
    ask(package, engine, version="2")
    assert engine.runs == 2
    other = Path(shutil.copytree(package.path, tmp_path / "other"))
    document = json.loads((other / "manifest.json").read_text())
    document["files"]["model.onnx"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(document))
    ask(Package.open(other), engine)
    assert engine.runs == 3


def test_without_goldens_nothing_is_known(package: Package) -> None:
    files = {name: digest for name, digest in package.manifest.files.items() if name != "goldens.npz"}
    bare = replace(package, manifest=replace(package.manifest, files=files))
    verdict = ask(bare, Engine())
    assert verdict.agrees is None and "no goldens" in verdict.reason


def test_a_damaged_cache_counts_as_empty(package: Package, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text('{"half')
    assert ask(package, Engine()).basis == "goldens"
    assert VerdictCache().get("nothing") is None
    cache.write_text(json.dumps({"key": 3, "other": {"agrees": True}}))
    assert VerdictCache().get("key") is None and VerdictCache().get("other") is None


def test_a_cache_that_cannot_be_written_is_no_error(package: Package, cache: Path) -> None:
    cache.parent.parent.write_text("a file where the folder should be")
    engine = Engine()
    assert ask(package, engine).agrees and ask(package, engine).agrees
    assert engine.runs == 2


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        ({}, "output y: missing, expected [2, 3] (case c)"),
        ({"y": np.ones((3, 2))}, "output y: shape [3, 2], expected [2, 3] (case c)"),
        ({"y": np.full((2, 3), np.nan)}, "relative L2 inf"),
    ],
)
def test_outputs_that_cannot_agree(actual: dict[str, Any], reason: str) -> None:
    assert reason in judge({"y": np.ones((2, 3))}, actual, Tolerance(1e-5), "c")[0]


def backend(name: str, engine: Engine) -> Backend:
    return Backend(name, lambda: None, lambda package, options: engine, lambda: "1")  # type: ignore[arg-type,return-value]


def test_auto_passes_over_an_engine_that_disagrees(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, right = Engine(factor=1.5), Engine()
    monkeypatch.setattr(backends, "BACKENDS", (backend("wrong", wrong), backend("right", right)))
    with pytest.warns(RuntimeWarning, match=r"backend wrong is passed over: .* output y: relative L2 .* region edge"):
        _, choice = choose_backend(package)
    assert choice.name == "right" and choice.verdict is not None and choice.verdict.agrees
    assert "disagrees" in choice.not_taken["wrong"] and wrong.closed and not right.closed


def test_auto_refuses_where_every_engine_disagrees(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BACKENDS", (backend("wrong", Engine(factor=1.5)),))
    with pytest.warns(RuntimeWarning), pytest.raises(ParityError, match="disagrees with the source model") as raised:
        choose_backend(package)
    assert Option("allow_unproven", True) in raised.value.args
    assert choose_backend(package, options=BackendOptions(allow_unproven=True))[1].name == "wrong"


@pytest.mark.parametrize("open_it", [choose_backend, lambda *words: choose_backend(*words, prove=True)])
def test_a_named_engine_that_disagrees_raises(
    package: Package, monkeypatch: pytest.MonkeyPatch, open_it: Callable[..., Any]
) -> None:
    wrong = Engine(factor=1.5)
    monkeypatch.setattr(backends, "BACKENDS", (backend("wrong", wrong),))
    with pytest.raises(ParityError, match=r"backend wrong: Engine 1 disagrees .*allow_unproven=True"):
        open_it(package, "wrong")
    assert wrong.closed
    assert choose_backend(package, "wrong", BackendOptions(allow_unproven=True))[1].verdict is None
    assert choose_backend(package, "wrong", prove=False)[1].name == "wrong"
