"""Each installed engine is compared, and what it refuses or answers otherwise becomes its proof."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rectexport import RectexportError, export, load
from rectexport.exporter import targets
from rectexport.exporter.checking import engines
from rectexport.exporter.checking.engines import EngineCheck, installed_engines
from rectexport.runtime.base.processor import processor
from rectexport.runtime.base.tolerance import Tolerance
from rectexport.runtime.errors import BadInput, ParityError
from rectexport.runtime.package.proofs import AGREES, DIFFERS, REFUSES, read_proofs
from rectexport.runtime.package.schema import manifest_faults

EXPECTED = {"y": np.array([1.0, 2.0])}


class Runner:
    def __init__(self, factor: float = 1.0, fails: bool = False) -> None:
        self.factor, self.fails, self.closed = factor, fails, False

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        if self.fails:
            raise BadInput("cannot run")
        return {"y": self.factor * EXPECTED["y"]}

    def close(self) -> None:
        self.closed = True


def checked(runner: Runner, *labels: str) -> EngineCheck:
    check = EngineCheck("onnxruntime", "float32", runner)  # type: ignore[arg-type]
    for label in labels:
        check.compare(label, {}, EXPECTED, Tolerance(1e-5))
    return check


def test_an_engine_that_agrees() -> None:
    proof = checked(Runner(1 + 1e-7), "opt", "odd").proof()
    assert (proof.verdict, proof.cases, proof.reason, proof.processor) == (AGREES, 2, "", processor())
    assert proof.worst is not None and proof.worst.relative_l2 == pytest.approx(1e-7, rel=1e-3)


def test_an_engine_that_differs_names_the_first_case() -> None:
    proof = checked(Runner(1.5), "opt", "odd").proof()
    assert proof.verdict == DIFFERS and "(case opt)" in proof.reason and proof.cases == 2


def test_an_engine_that_fails_is_not_asked_again() -> None:
    runner = Runner(fails=True)
    proof = checked(runner, "opt", "odd").proof()
    assert proof.verdict == REFUSES and proof.cases == 0 and "cannot run (case opt)" in proof.reason and runner.closed


class Wrapping(nn.Module):
    """uint8 arithmetic that wraps, as PyTorch's does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(((image + 200) * 3).float() / 255)


class Wide(nn.Module):
    """int64 arithmetic beyond 32 bits, which OpenVINO 2026.4.1 computes in int32."""

    def forward(self, numbers: Tensor) -> Tensor:
        return numbers * 3_000_000_000


@pytest.fixture
def openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(targets, "installed_engines", installed_engines)
    return pytest.importorskip("openvino")


def test_a_package_that_one_engine_computes_otherwise_runs_on_the_other(openvino: Any, tmp_path: Path) -> None:
    image = torch.arange(2 * 3 * 16, dtype=torch.uint8).reshape(2, 3, 4, 4)
    net = Wrapping().eval()
    package = export(net, (image,), tmp_path / "package", guard=False)
    verdicts = {proof["engine"]: proof["verdict"] for proof in package.manifest.data["proofs"]}
    assert verdicts["onnxruntime"] == AGREES
    with torch.no_grad():
        wanted = net(image).numpy()
    if verdicts["openvino"] == AGREES:
        pytest.fail("OpenVINO wraps integers now: take another fault for this test")
    with pytest.warns(RuntimeWarning, match="backend openvino is passed over"):
        session = load(package.path)
    with session:
        assert session.backend.name == "onnxruntime"
        np.testing.assert_allclose(session(image.numpy()), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ParityError, match="allow_unproven"):
        load(package.path, backend="openvino")
    with load(package.path, backend="openvino", allow_unproven=True, warm_up=False) as session:
        assert session.backend.name == "openvino"


def test_a_target_that_disagrees_is_not_written(openvino: Any, tmp_path: Path) -> None:
    numbers = torch.arange(1, 7).reshape(2, 3)
    with pytest.raises(RectexportError, match=r"does not work on its target: openvino .*target='onnxruntime'"):
        export(Wide().eval(), (numbers,), tmp_path / "package", target="openvino", guard=False)
    assert not (tmp_path / "package").exists()


class Cropped(nn.Module):
    """A pool whose last row and column OpenVINO 2026.4.1 computes otherwise, and which are then cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 2, 1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)[:, :, :-1, :-1].relu()


def test_a_fault_inside_is_noted_where_the_outputs_agree(openvino: Any, tmp_path: Path) -> None:
    package = export(Cropped().eval(), (torch.rand(1, 2, 8, 8),), tmp_path / "package", guard=False)
    proofs = {proof.engine: proof for proof in read_proofs(package.manifest.data)}
    assert proofs["openvino"].verdict == AGREES and proofs["onnxruntime"].inner == ""
    if "agree" in proofs["openvino"].inner:
        pytest.fail("OpenVINO computes the pool right now: take another fault for this test")
    assert "the first that differs is avg_pool2d (pool)" in proofs["openvino"].inner
    assert proofs["openvino"].inner in proofs["openvino"].describe()
    assert not list(manifest_faults(package.manifest.data))


def test_a_target_that_is_not_installed_is_said_to_be_unproven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "missing", lambda name: f"{name} is not here" if name == "openvino" else None)
    assert installed_engines() == ["onnxruntime"]
