"""Steps around a package: what is exported before and behind it, what is refused, and the repository that they make."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rectexport
from rectexport.exporter.base.processing import parse_answer, parse_image_input
from rectexport.exporter.ensemble import export_around
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.package.folder import Package

IMAGE = "photo:uint8,nhwc,rgb,resize=10,crop=8,mean=0.5,std=0.25"
BATCH = torch.export.Dim("batch", min=1, max=16)


class Net(nn.Module):
    """[N, 3, 8, 8] -> 5 logits for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).relu().mean((2, 3)))


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"logits": x.mean((2, 3)), "sum": x + y}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Package:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("around") / "net"
    return rectexport.export(Net().eval(), (torch.randn(2, 3, 8, 8),), out, ({0: BATCH},), guard=False)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Package:
    x = torch.randn(2, 3, 8, 8)
    return rectexport.export(Two(), (x, x), tmp_path_factory.mktemp("around") / "two", guard=False)


def test_the_steps_compute_what_one_graph_would(net: Package, tmp_path: Path) -> None:
    around = export_around(net, parse_image_input(IMAGE), parse_answer("topk=2"), tmp_path)
    assert around.before is not None and around.behind is not None
    entry = around.before.manifest.inputs[0]
    assert entry.range is not None and entry.range.min == (1, 2, 2, 3) and entry.range.max == (8, 40, 40, 3)
    photo = np.random.default_rng(0).integers(0, 256, (3, 12, 15, 3), dtype=np.uint8)
    whole = tmp_path / "whole"
    torch.manual_seed(0)
    model = Net().eval()
    rectexport.export(model, (torch.from_numpy(photo),), whole, image_input=IMAGE, output="topk=2", guard=False)
    with (
        rectexport.load(around.before.path, "onnxruntime") as before,
        rectexport.load(net.path, "onnxruntime") as middle,
        rectexport.load(around.behind.path, "onnxruntime") as behind,
        rectexport.load(whole, "onnxruntime") as at_once,
    ):
        planes = before.run({"photo": photo})["planes"]
        logits = middle.run({"x": planes})["output"]
        found, wanted = behind.run({"input": logits}), at_once.run({"photo": photo})
    np.testing.assert_array_equal(found["indices"], wanted["indices"])
    np.testing.assert_allclose(found["values"], wanted["values"], rtol=1e-4, atol=1e-5)


def test_only_what_was_asked_for(two: Package, tmp_path: Path) -> None:
    around = export_around(two, None, parse_answer("logits:argmax"), tmp_path)
    assert around.before is None and around.behind is not None and around.answer == "logits"
    assert around.behind.manifest.inputs[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("which", "image", "answer", "said"),
    [
        ("two", "z:uint8", None, "no input 'z'; .* takes x, y"),
        ("two", None, "topk=2", "has several outputs; say which, as in logits:topk"),
        ("two", None, "other:topk=2", "no output 'other'"),
        ("net", "x:uint8,gray", None, r"x is float32 \['batch', 3, 8, 8\], gray give float32 \[N, 1, H, W\]"),
        ("net", "x:uint8,resize=20,crop=9", None, "axis 2 of x would be 9, .* takes 8"),
        ("net", None, "topk=9", "output has 5 classes, expected at least 9"),
    ],
)
def test_what_does_not_fit_is_refused(
    request: pytest.FixtureRequest, which: str, image: str | None, answer: str | None, said: str, tmp_path: Path
) -> None:
    package = request.getfixturevalue(which)
    with pytest.raises(UsageError, match=said):
        export_around(package, image and parse_image_input(image), answer and parse_answer(answer), tmp_path)


def test_what_is_in_the_graph_already_is_refused(tmp_path: Path) -> None:
    photo = torch.zeros(1, 12, 12, 3, dtype=torch.uint8)
    whole = rectexport.export(Net().eval(), (photo,), tmp_path / "p", image_input=IMAGE, output="softmax", guard=False)
    with pytest.raises(UsageError, match="takes images already, its preprocessing is in its graph"):
        export_around(whole, parse_image_input(IMAGE), None, tmp_path)
    with pytest.raises(UsageError, match="gives an answer already"):
        export_around(whole, None, parse_answer("topk=2"), tmp_path)


def test_a_repository_with_an_ensemble(net: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tritonclient.grpc")
    from rectexport.cli.ensemble import write_with_ensemble
    from rectexport.runtime.serving.served_packages import ServedPackage
    from rectexport.runtime.serving.triton.check import check_repository
    from rectexport.runtime.serving.triton.config import Deployment
    from rectexport.runtime.serving.triton.repository import CONFIG

    repository = tmp_path / "repository"

    def write(answer: str = "topk=2") -> None:
        image = parse_image_input(IMAGE)
        source = ServedPackage("net", "1", net.path)
        write_with_ensemble(source, repository, Deployment(), image, parse_answer(answer), None, ())

    # Each is exported once: what is tried from here on is what is written.
    exported = functools.cache(lambda image, answer: export_around(net, image, answer, tmp_path / answer.kind, 8))
    monkeypatch.setattr("rectexport.exporter.ensemble.export_around", lambda *words: exported(*words[1:3]))
    write()
    names = ["net", "net_ensemble", "net_postprocessing", "net_preprocessing"]
    assert check_repository(repository) == (names, [])
    config = repository / "net_ensemble" / CONFIG
    config.write_text(config.read_text() + 'parameters { key: "owner" value { string_value: "vision" } }\n')
    write()
    assert "vision" in config.read_text()
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=r"net_ensemble/config.pbtxt: does not fit this ensemble, .*Delete the file"):
        write("softmax")
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
