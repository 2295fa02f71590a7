"""One package for several targets: a file for each engine where they differ, proved there, with shared weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rectexport import Package, export, load
from rectexport.exporter import targets
from rectexport.exporter.base.options import ExportOptions
from rectexport.exporter.checking.engines import installed_engines
from rectexport.exporter.targets import chosen_targets
from rectexport.runtime.engines import backends
from rectexport.runtime.errors import ParityError, UsageError
from rectexport.runtime.package.folder import MODEL, WEIGHTS
from rectexport.runtime.verify import check_manifest

OWN = "model.openvino.onnx"
BOTH = "onnxruntime,openvino"


class Ceil(nn.Module):
    """A pool that OpenVINO 2026.4.1 computes otherwise, so that its graph is written otherwise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 256, 3)
        self.pool = nn.AvgPool2d(3, 2, 1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x))


EXAMPLE = (torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1)),)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    pytest.importorskip("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "installed_engines", installed_engines)
        return export(Ceil(), EXAMPLE, tmp_path_factory.mktemp("both") / "net", target=BOTH)


def test_each_engine_has_its_file_and_its_proof(package: Package) -> None:
    assert package.manifest.models == {"openvino": OWN}
    assert {proof["engine"]: proof["verdict"] for proof in package.manifest.data["proofs"]} == {
        "onnxruntime": "agrees",
        "openvino": "agrees",
    }
    assert package.manifest.data["options"]["target"] == BOTH
    fired = {entry["name"] for entry in package.manifest.data["passes_of"][OWN] if entry["fired"]}
    assert "ceil_pool" in fired
    assert "ceil_pool" not in {entry["name"] for entry in package.manifest.data["passes"]}
    cases = json.loads((package.path / "parity.json").read_text())["models"][OWN]
    assert cases and all(not case["failures"] for case in cases)


def test_the_manifest_follows_its_schema(package: Package) -> None:
    check_manifest(package)
    package.verify_files()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "auto"])
def test_every_engine_answers_from_its_own_file(package: Package, engine: str) -> None:
    with load(package.path, backend=engine) as session:
        assert torch.allclose(session(*EXAMPLE), Ceil()(*EXAMPLE), atol=1e-5)


def test_the_weights_are_stored_once(package: Package, tmp_path: Path) -> None:
    alone = export(Ceil(), EXAMPLE, tmp_path / "alone")
    both = sum((package.path / name).stat().st_size for name in (MODEL, OWN, WEIGHTS))
    assert both <= 1.05 * (alone.path / MODEL).stat().st_size + 1500  # the second graph


def test_targets_with_equal_models_share_a_file(tmp_path: Path) -> None:
    package = export(nn.Conv2d(3, 4, 1), EXAMPLE, tmp_path / "net", target=BOTH)
    assert package.manifest.models == {} and not (package.path / WEIGHTS).exists()


def test_a_target_that_disagrees_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(nn.Module):
        """int64 beyond 32 bits, which OpenVINO 2026.4.1 computes in int32; no pass avoids it."""

        def forward(self, x: Tensor) -> Tensor:
            return (x * 3).sum(1)

    pytest.importorskip("openvino")
    monkeypatch.setattr(targets, "installed_engines", installed_engines)
    with pytest.raises(ParityError, match=r"openvino .*differs"):
        export(Wide(), (torch.full((1, 3), 2**33),), tmp_path / "net", target=BOTH)
    assert not (tmp_path / "net").exists()


def test_auto_is_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [backends.Backend(name, lambda: None, lambda *_: None) for name in ("openvino", "onnxruntime")]  # type: ignore[arg-type,return-value]
    tensorrt = backends.Backend("tensorrt", lambda: "no GPU", lambda *_: None)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(targets, "BACKENDS", (tensorrt, *entries))
    assert chosen_targets(ExportOptions(target="auto")) == ("onnxruntime", "openvino")


def test_the_first_target_is_the_one_that_serves_the_others() -> None:
    assert ExportOptions(target="tensorrt,openvino,onnxruntime,openvino").targets == (
        "onnxruntime",
        "openvino",
        "tensorrt",
    )


@pytest.mark.parametrize("wrong", ["onnxruntime,", "auto,openvino", "tpu", "openvino;tensorrt"])
def test_unknown_targets_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="expected one of onnxruntime, openvino, tensorrt, portable; several are join"):
        ExportOptions(target=wrong)
