"""Training checkpoints: which weights are in them, and which are taken."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rectexport.models.loading.weight_sets import Chosen, choose, find_sets
from rectexport.runtime.errors import BadInput


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)


def weights(value: float) -> dict[str, Tensor]:
    """A state dict all of whose floats are one number."""
    return {
        key: torch.full_like(entry, value) if entry.is_floating_point() else entry
        for key, entry in Net().state_dict().items()
    }


def put(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def parameters(value: float) -> dict[str, Tensor]:
    return {key: entry for key, entry in weights(value).items() if "running" not in key and "num" not in key}


def take(document: Any, wanted: str | None = None) -> tuple[float, Chosen]:
    """The number that all weights taken are, and the choice."""
    chosen = choose(find_sets(document), Net(), wanted, "f.pt", "Net")
    assert set(chosen.tensors) >= {"conv.weight", "norm.running_mean"}
    (value,) = {float(entry.flatten()[0]) for key, entry in chosen.tensors.items() if "conv" in key}
    return value, chosen


def refused(document: Any, wanted: str | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        choose(find_sets(document), Net(), wanted, "f.pt", "Net")
    return str(caught.value)


W = weights(1)
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2, 1, 3, 3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", "net", "module", "network", "weights"])
def test_one_set_under_any_key(key: str) -> None:
    value, chosen = take({key: W, "optimizer": OPTIMIZER, "epoch": 3, "best": 0.5, "lr_schedulers": [{"step": 1}]})
    assert value == 1 and not chosen.averaged and not chosen.others and not chosen.left_out


def test_nested_and_whole() -> None:
    assert take({"model": {"state_dict": put("module.", W)}})[0] == 1
    net = Net()
    net.load_state_dict(W)
    assert take({"model": net})[0] == 1
    assert take(W)[1].remarks() == []


SEVEN = torch.tensor(7)
BOTH = {
    "timm": ({"state_dict": W, "state_dict_ema": weights(2)}, "state_dict_ema"),
    "torchvision": ({"model": W, "model_ema": {"n_averaged": SEVEN, **put("module.", weights(2))}}, "model_ema"),
    "yolo": ({"model": W, "ema": weights(2)}, "ema"),
    "prefixes": ({"state_dict": {**put("model.", W), **put("ema_model.", weights(2))}}, "state_dict.ema_model"),
    "lucidrains": ({**put("online_model.", W), **put("ema_model.", weights(2)), "step": SEVEN}, "ema_model"),
    "inside": ({**W, **put("ema.", weights(2))}, "ema"),
    "nested": ({"model": W, "ema": {"module": weights(2), "decay": 0.99}}, "ema.module"),
    "dino": ({"student": put("module.backbone.", W), "teacher": put("backbone.", weights(2))}, "teacher.backbone"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOTH)
def test_raw_and_averaged_weights(kind: str) -> None:
    document, name = BOTH[kind]
    value, chosen = take(document)
    assert value == 1 and not chosen.averaged and chosen.others == (name,)
    assert f"the file also has {name}" in " ".join(chosen.remarks()) and "--weights" in " ".join(chosen.remarks())
    assert take(document, "raw")[0] == 1
    value, chosen = take(document, "ema")
    assert value == 2 and chosen.averaged and chosen.name == name
    assert f"averaged weights {name} taken" in " ".join(chosen.remarks())
    assert take(document, name)[0] == 2


SHADOW = list(parameters(2).values())


@pytest.mark.parametrize(
    "document",
    [
        {"model": W, "ema": {"decay": 0.9, "num_updates": 3, "shadow_params": SHADOW, "collected_params": None}},
        {"model": W, "ema_state_dict": parameters(2)},
        {"model": W, "ema": {"shadow": parameters(2)}},
        {**W, **{"model_ema." + key.replace(".", ""): value for key, value in parameters(2).items()}},
    ],
)
def test_an_average_of_parameters_takes_its_buffers_from_the_raw_weights(document: Any) -> None:
    value, chosen = take(document, "ema")
    assert value == 2 and float(chosen.tensors["norm.running_mean"][0]) == 1
    assert "norm.running_mean" in chosen.filled and "buffers from the other weights" in " ".join(chosen.remarks())
    assert take(document)[0] == 1


@pytest.mark.parametrize(
    "document",
    [
        {"meta": {"mmengine_version": "0.10"}, "state_dict": weights(2), "ema_state_dict": put("module.", W)},
        {"state_dict": weights(2), "current_model_state": W, "averaging_state": {"n_averaged": 3}},
    ],
)
def test_tools_that_keep_the_average_under_state_dict(document: Any) -> None:
    value, chosen = take(document)
    assert value == 2 and chosen.averaged
    assert take(document, "raw")[0] == 1 and take(document, "ema")[0] == 2


def test_averages_alone() -> None:
    value, chosen = take({**put("module.", W), "n_averaged": torch.tensor(5)})
    assert value == 1 and chosen.averaged
    assert "it has the top" in refused({**W, "n_averaged": torch.tensor(5)}, "raw")
    assert "has no averaged weights; it has state_dict" in refused({"state_dict": W}, "ema")
    assert "no such weights" in refused({"state_dict": W}, "best")


def test_several_raw_sets_are_asked_about() -> None:
    gan = {"netG_A": W, "netG_B": weights(2)}
    assert "2 sets of weights fit: netG_A, netG_B; choose one with weights" in refused(gan)
    assert take(gan, "netG_B")[0] == 2
    assert take({"model": W, "state_dict": W})[0] == 1, "the same memory under two names is one set"


def test_what_belongs_to_something_else_is_named() -> None:
    _, chosen = take({"state_dict": {**put("net.", W), "criterion.weight": torch.ones(3)}})
    assert chosen.left_out == ("criterion.weight",)
    assert "1 other keys left out: criterion.weight" in chosen.remarks()


def test_a_mismatch_names_the_prefix_that_nearly_fits() -> None:
    state = put("backbone.", W)
    del state["backbone.norm.weight"]
    message = refused({"state_dict": state, "model_ema": {"x": torch.ones(1)}})
    assert message.startswith("f.pt does not fit Net (weights state_dict.backbone): 1 missing keys: norm.weight")
    assert re.search(r"without the prefix 'backbone\.' \d of 7 keys fit", message)
    assert "the file also has model_ema" in message
    wide = {**W, "conv.weight": torch.ones(2, 1, 5, 5)}
    assert "1 wrong shapes: conv.weight is [2, 1, 5, 5], expected [2, 1, 3, 3]" in refused(wide)


def test_tied_weights_that_safetensors_leaves_out() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    state = {key: value for key, value in net.state_dict().items() if key != "1.weight"}
    chosen = choose(find_sets(state), net, None, "f", "net")
    assert torch.equal(chosen.tensors["1.weight"], net[0].weight)


def test_a_file_that_holds_itself() -> None:
    loop: dict[str, Any] = {"model": W}
    loop.update({f"again{index}": loop for index in range(50)})
    assert [entry.name for entry in find_sets(loop)] == ["model"]


def test_optimizers_are_no_weights() -> None:
    assert find_sets({"optimizer": OPTIMIZER, "optimizer_states": [OPTIMIZER]}) == []
    assert [entry.name for entry in find_sets({"optimizer": OPTIMIZER, "model": W})] == ["model"]
