"""Keys of a file become keys of a network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rectexport.models.loading.key_names import fits, is_averaged, without_wrappers


class Net(nn.Module):
    """A stem and a head; `module` is a name of its own."""

    def __init__(self, stem: str = "stem") -> None:
        super().__init__()
        self.add_module(stem, nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
        self.head = nn.Linear(2, 3)


def expected(net: nn.Module) -> dict[str, Tensor]:
    return net.state_dict(keep_vars=True)


def with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "backbone.", "net.backbone.", "a.b.c."),
        *("_orig_mod.model.module.net.", "_fsdp_wrapped_module.model.", "generator."),
    ],
)
def test_any_prefix_is_found(prefix: str) -> None:
    net = Net()
    best = fits(with_prefix(net.state_dict(), prefix), expected(net))[0]
    assert best.complete and set(best.tensors) == set(net.state_dict())


def test_names_of_wrappers_stay_where_the_network_has_them() -> None:
    net = Net("module")
    for prefix in ("", "model."):
        best = fits(with_prefix(net.state_dict(), prefix), expected(net))[0]
        assert best.complete and set(best.tensors) == set(net.state_dict()), prefix


def test_wrappers_in_the_middle() -> None:
    net = Net()
    state = {key.replace("stem.", "stem._checkpoint_wrapped_module."): value for key, value in net.state_dict().items()}
    assert fits(state, expected(net))[0].complete


def test_a_prefix_that_the_file_lacks() -> None:
    net = nn.ModuleDict({"net": Net()})
    best = fits(Net().state_dict(), expected(net))[0]
    assert best.complete and best.prefix == "+net."


def test_leftovers_and_missing_counters() -> None:
    net = Net()
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    state |= {"n_averaged": torch.tensor(3), "stem.0.total_ops": torch.zeros(1), "stem.total_params": torch.zeros(1)}
    assert fits(with_prefix(state, "module."), expected(net))[0].complete


def test_keys_beside_the_prefix_are_told_apart_from_surplus_ones() -> None:
    net = Net()
    state = with_prefix(net.state_dict(), "model.")
    best = fits({**state, "criterion.weight": torch.ones(3)}, expected(net))[0]
    assert best.complete and best.outside == ("criterion.weight",)
    best = fits({**state, "model.more.weight": torch.ones(3)}, expected(net))[0]
    assert not best.complete and best.surplus == ("more.weight",)


def test_a_part_of_the_file_is_not_taken_where_the_whole_has_the_keys() -> None:
    net = nn.Linear(2, 3)
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(3), **with_prefix(net.state_dict(), "head.")}
    best = fits(state, expected(net))[0]
    assert best.prefix == "" and best.surplus == ("head.weight", "head.bias")


def test_shapes_decide_between_prefixes() -> None:
    net, small = nn.Linear(2, 3), nn.Linear(1, 3)
    best = fits({**with_prefix(small.state_dict(), "a."), **with_prefix(net.state_dict(), "b.")}, expected(net))[0]
    assert best.complete and best.prefix == "b."


@pytest.mark.parametrize(("prefix", "sign"), [("ema_", "_"), ("model_ema.", "")])
def test_averages_whose_keys_have_no_dots(prefix: str, sign: str) -> None:
    net = Net()
    averages = {prefix + key.replace(".", sign): value + 1 for key, value in net.named_parameters()}
    found = fits({**net.state_dict(), **averages}, expected(net))
    assert found[0].complete and found[0].prefix == ""
    second = next(fit for fit in found if fit.prefix == prefix)
    assert torch.equal(second.tensors["head.weight"], net.head.weight + 1) and second.missing


def test_lazy_modules_take_any_shape() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3))
    assert fits(nn.Sequential(nn.Conv2d(2, 4, 3)).state_dict(), expected(net))[0].complete


@pytest.mark.parametrize(
    "name",
    [
        *("ema", "model_ema", "state_dict_ema", "ema_state_dict", "modelEMA", "ema_model", "teacher", "shadow_params"),
        *("swa_model", "averaged_model", "net_avg", "ema.module"),
    ],
)
def test_names_of_averages(name: str) -> None:
    assert is_averaged(name)


@pytest.mark.parametrize("name", ["schema", "state_dict", "cinema_net", "swap", "avgpool", "emanet", ""])
def test_names_that_only_look_so(name: str) -> None:
    assert not is_averaged(name)


def test_wrappers_are_taken_out() -> None:
    assert without_wrappers("module.features._orig_mod.0.weight") == "features.0.weight"
