"""TorchScript that could act outside of the process is refused before torch loads it; an ordinary one is loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rectexport.exporter.frontend.load import LoadOptions, load_source
from rectexport.exporter.frontend.torchscript_archive import check_torchscript_archive
from rectexport.models import CReLU, RectifiedConv2d, SymmetricConv2d
from rectexport.runtime.errors import BadInput


class Saves(nn.Module):
    """Writes a file whenever it runs."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "canary")
        return x


def honest() -> nn.Module:
    return nn.Sequential(
        RectifiedConv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        CReLU(),
        SymmetricConv2d(8, 8, 2),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(8),
        nn.Linear(8, 2),
    ).eval()


def test_honest(tmp_path: Path) -> None:
    torch.jit.trace(honest(), torch.zeros(1, 3, 8, 8)).save(tmp_path / "traced.pt")
    check_torchscript_archive(tmp_path / "traced.pt")
    assert load_source(tmp_path / "traced.pt").kind == "torchscript"


def test_it_writes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Saves()).save("saves.pt")
    with pytest.raises(BadInput, match=r"could reach outside the process: .* has torch\.save\. .*trust_pickle=True"):
        load_source(Path("saves.pt"))
    assert load_source(Path("saves.pt"), LoadOptions(trust_pickle=True)).kind == "torchscript"
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("t = torch", "torch under another name"),
        ('getattr(torch, "save")(x, "canary")', "torch under another name"),
        ("f = torch.from_file", "torch.from_file"),
        ("o = ops.aten", "ops.aten, an operator"),
        ('ops.aten.save(x, "canary")', "ops.aten.save"),
        ("ops.c10d.barrier(x)", "ops.c10d.barrier"),
        ("__torch__.torch.classes.a.B()", "torch.classes"),
        ("$", "damaged TorchScript"),
        ("(" * 10_000, "damaged TorchScript"),
        (
            "return x\n  def __setstate__(self, a: int) -> int:\n    return a",
            "__setstate__, which runs when it is loaded",
        ),
    ],
)
def test_other_spellings(tmp_path: Path, line: str, said: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"N.")
        archive.writestr(
            "a/code/__torch__.py", f"class Net(Module):\n  def forward(self, x: Tensor) -> Tensor:\n    {line}\n"
        )
    with pytest.raises(BadInput, match=said):
        check_torchscript_archive(tmp_path / "a.pt")
