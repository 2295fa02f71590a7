"""Weights, and the network that they are loaded into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rectexport.exporter.base.options import LoadOptions
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.source import Source
from rectexport.models import RectifiedConv2d, create_model
from rectexport.models.checkpoint import save_checkpoint
from rectexport.models.rectify import plain
from rectexport.runtime.errors import BadInput, UsageError
from tests.export.nets import image, seeded


class Net(nn.Module):
    """A user's network, one of whose layers has the name of a wrapper."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.module = nn.Conv2d(1, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


class Renaming(Net):
    """Its own code takes the keys of an older version."""

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        for key in ("weight", "bias"):
            if f"{prefix}old.{key}" in state:
                state[f"{prefix}module.{key}"] = state.pop(f"{prefix}old.{key}")
        super()._load_from_state_dict(state, prefix, *rest)


class Stranger:
    """Something that is not a tensor."""


def load(value: Any, path: Path, **options: Any) -> Source:
    torch.save(value, path)
    return load_source(path, LoadOptions(**options))


def same(source: Source, net: nn.Module) -> bool:
    wanted = net.state_dict()
    return all(torch.equal(value, wanted[key]) for key, value in source.model.state_dict().items())


def test_a_network_of_the_users_own(tmp_path: Path) -> None:
    net = Net(5)
    prefixed = {f"model.{key}": value for key, value in net.state_dict().items()}
    source = load({"state_dict": prefixed, "epoch": 3}, tmp_path / "w.ckpt", model=Net, model_args={"width": 5})
    assert same(source, net) and source.description == "weights of Net" and not source.model.training
    assert source.remarks == ["weights state_dict.model taken"]
    with pytest.raises(BadInput, match=r"w\.ckpt does not fit Net .*2 wrong shapes: module\.weight is \[5, 1, 3, 3\]"):
        load_source(tmp_path / "w.ckpt", LoadOptions(model=Net))


def test_the_users_code_may_rename_keys(tmp_path: Path) -> None:
    net = Net()
    old = {key.replace("module", "old"): value for key, value in net.state_dict().items()}
    source = load({"state_dict": old}, tmp_path / "w.pt", model=Renaming)
    assert same(source, net)


def test_no_file_at_all() -> None:
    source = load_source(None, LoadOptions(model=Net))
    assert "no file of weights was given" in source.remarks[0] and source.path is None
    with pytest.raises(UsageError, match="chooses among the weights of a file"):
        load_source(None, LoadOptions(model=Net, weights="ema"))
    with pytest.raises(UsageError, match="give MODEL, a file, or model"):
        load_source(None, LoadOptions())


def test_objects_of_other_classes_beside_the_weights(tmp_path: Path) -> None:
    net = Net()
    source = load({"state_dict": net.state_dict(), "callbacks": {"a": Stranger()}}, tmp_path / "w.ckpt", model=Net)
    assert same(source, net)
    assert source.remarks[-1] == f"objects of 1 classes in the file were not made: {__name__}.Stranger"


def test_the_weights_of_a_pickled_module_without_running_it(tmp_path: Path) -> None:
    net = Net()
    assert same(load({"model": net, "epoch": 3}, tmp_path / "w.pt", model=Net), net)
    assert same(load(net, tmp_path / "w.pt", model=Net), net)
    with pytest.raises(BadInput, match="is a pickle that runs code when loaded"):
        load(net, tmp_path / "w.pt")


def test_modules_in_a_trusted_pickle(tmp_path: Path) -> None:
    raw, averaged = Net(), Net()
    value = {"epoch": 3, "model": raw, "ema": averaged, "optimizer": None}
    source = load(value, tmp_path / "yolo.pt", trust_pickle=True)
    assert same(source, raw) and source.remarks == ["module model taken; the file also has ema (--weights chooses)"]
    assert same(load(value, tmp_path / "yolo.pt", trust_pickle=True, weights="ema"), averaged)
    assert same(load({**value, "ema": None}, tmp_path / "yolo.pt", trust_pickle=True), raw)
    assert same(load({**value, "model": None}, tmp_path / "yolo.pt", trust_pickle=True), averaged)
    with pytest.raises(BadInput, match="the file holds the modules model, ema"):
        load(value, tmp_path / "yolo.pt", trust_pickle=True, weights="best")


def rectified(source: Source) -> int:
    return sum(isinstance(module, RectifiedConv2d) for module in source.model.modules())


def test_plain_or_rectified_weights_of_the_zoo(tmp_path: Path) -> None:
    net = seeded(create_model("digits"))
    path = tmp_path / "w.pt"
    source = load(net.state_dict(), path, arch="digits")
    assert rectified(source) == 4
    assert source.remarks[0].startswith("4 convolutions rectified: assumed, because digits of the zoo rectifies them")
    assert "--plain" in source.remarks[0]
    source = load(net.state_dict(), path, arch="digits", rectified=True)
    assert rectified(source) == 4 and source.remarks == ["4 convolutions rectified"]
    source = load(net.state_dict(), path, arch="digits", rectified=False)
    assert rectified(source) == 0 and source.remarks[0].startswith("4 convolutions plain")
    plain(net)
    x = image(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(source.model(x), net(x))


def test_where_the_question_does_not_arise(tmp_path: Path) -> None:
    small = {"num_classes": 2, "width": 0.25}
    path = tmp_path / "c.pt"
    save_checkpoint(path, "digits", small, create_model("digits", **small), image(1, 1, 8, 8))
    assert load_source(path).remarks == ()
    with pytest.raises(UsageError, match="is a checkpoint of digits, which records that"):
        load_source(path, LoadOptions(arch="digits", rectified=False))
    with pytest.raises(UsageError, match=r"weights='ema': .* is a checkpoint of digits"):
        load_source(path, LoadOptions(weights="ema"))
    with pytest.raises(UsageError, match=r"plain: resnet20 has no rectified convolutions"):
        load(create_model("resnet20").state_dict(), path, arch="resnet20", rectified=False)
    with pytest.raises(UsageError, match="plain: says what the weights of arch are"):
        LoadOptions(model=Net, rectified=False)
    with pytest.raises(UsageError, match="give one of them"):
        LoadOptions(model=Net, arch="digits")


def test_classes_are_counted_behind_any_prefix(tmp_path: Path) -> None:
    state = {f"net.{key}": value for key, value in create_model("digits", num_classes=7).state_dict().items()}
    source = load({"state_dict": state}, tmp_path / "w.pt", arch="digits")
    assert source.model(image(1, 1, 8, 8)).shape == (1, 7)
