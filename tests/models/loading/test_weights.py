"""Loading of weights: every usual wrapping, and messages that say what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rectexport.models import create_model
from rectexport.models.loading.weights import closest_arch, load_weights
from rectexport.runtime.errors import BadInput

ARGUMENTS = {"num_classes": 10, "width": 0.25}


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return create_model("digits", **ARGUMENTS).eval()


def failure(model: nn.Module, state: dict[str, Any], arch: str = "digits") -> str:
    with pytest.raises(BadInput) as caught:
        load_weights(model, state, "f.pt", arch)
    return str(caught.value)


def test_missing_surplus_and_misshapen_keys_are_counted_and_named(model: nn.Module) -> None:
    state = dict(model.state_dict())
    for key in ("stem.0.weight", "stem.1.weight", "stem.1.bias", "down.0.weight"):
        del state[key]
    state["extra.weight"] = torch.ones(1)
    state["head.fc.bias"] = torch.ones(11)
    message = failure(model, state)
    assert message.startswith("f.pt does not fit digits: ")
    assert "4 missing keys: stem.0.weight, stem.1.weight, stem.1.bias, …;" in message
    assert "1 surplus keys: extra.weight" in message
    assert "1 wrong shapes: head.fc.bias is [11], expected [10]" in message
    assert "closest model" not in message


def test_the_closest_network_is_named(model: nn.Module) -> None:
    with torch.device("meta"):
        state = create_model("resnext50_32x4d", num_classes=5).state_dict()
    assert "closest model: resnext50_32x4d (100% of the keys)" in failure(model, state)
    assert closest_arch(state)[0] == "resnext50_32x4d"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_named(model: nn.Module, value: float) -> None:
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state["down.0.weight"][0, 0, 0, 0] = value
    assert "1 tensors with NaN or infinite values: down.0.weight" in failure(model, state)


@pytest.mark.parametrize("state", [{}, {"epoch": 3}])
def test_what_is_not_a_state_dict(model: nn.Module, state: dict[str, Any]) -> None:
    assert "f.pt: not a state dict" in failure(model, state)


def wrapped(state: dict[str, Tensor]) -> list[dict[str, Any]]:
    """A state dict as training scripts, DataParallel, torch.compile and old releases leave it."""
    parallel = {f"module.{key}": value for key, value in state.items()}
    compiled = {f"module._orig_mod.{key}": value for key, value in state.items()}
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return [state, parallel, compiled, old, {"epoch": 3, "state_dict": parallel, "best_prec1": 1.0}]


def test_every_usual_wrapping_loads(model: nn.Module) -> None:
    for state in wrapped(dict(model.state_dict())):
        fresh = create_model("digits", **ARGUMENTS)
        load_weights(fresh, state, "f.pt", "digits")
        loaded = fresh.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg16_bn", "vgg16"])
def test_partialconv_checkpoints_load(name: str) -> None:
    """As NVIDIA/partialconv's main.py writes them: DataParallel around a ResNet, but only a VGG's features."""
    state = create_model(name, width=1 / 16).state_dict()
    vgg = name.startswith("vgg")
    renamed = {
        (key.replace("features.", "features.module.") if vgg else f"module.{key}"): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    fresh = create_model(name, width=1 / 16)
    load_weights(fresh, {"epoch": 99, "arch": f"pd{name}", "state_dict": renamed}, "pd.pth.tar", name)
    assert torch.equal(fresh.state_dict()[next(iter(state))], next(iter(state.values())))
