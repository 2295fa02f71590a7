"""rectify and plain on the networks people have."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval, parametrizations, weight_norm

from rectexport.models import RectifiedConv1d, RectifiedConv2d, create_model
from rectexport.models.rectify import Report, plain, rectify
from rectexport.models.tools.seeded import seeded_model


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 6, 3, 2, padding="valid"),
        nn.Conv2d(6, 5, 4, padding="same", bias=False),
    )


X = torch.linspace(-1, 1, 2 * 3 * 9 * 8).reshape(2, 3, 9, 8).sin()


@pytest.mark.parametrize("name", ["resnet50", "resnest50_fast_2s8x", "vgg13conv_crelu1"])
def test_a_plain_network_becomes_its_rectified_twin_and_back(name: str) -> None:
    options: dict[str, Any] = {"width": 0.25, "mode": "average"}
    expected = seeded_model(name, conv="rectified", **options)
    model = seeded_model(name, conv="plain", **options)
    model.load_state_dict(expected.state_dict())
    x = torch.randn(1, 3, 48, 40)
    with torch.no_grad():
        before = model(x)
        report = rectify(model, mode="average")
        assert torch.equal(model(x), expected(x))
        assert len(report.changed) == sum(isinstance(m, RectifiedConv2d) for m in expected.modules())
        assert not report.skipped
        assert plain(model).changed == report.changed
        assert torch.equal(model(x), before)
    assert repr(model) == repr(create_model(name, conv="plain", width=0.25))


def test_only_padding_convolutions_change_and_the_report_says_which() -> None:
    model = small()
    report = rectify(model, mode="average", bias_mode="inside", empty="zero")
    assert report == Report(("0", "5"), ())
    assert str(report) == "2 convolutions changed\n  0\n  5"
    assert (model[0].mode, model[0].bias_mode, model[0].empty) == ("average", "inside", "zero")
    assert type(model[3]) is nn.Conv2d and type(model[4]) is nn.Conv2d


def test_everything_about_a_module_is_kept() -> None:
    model = small().to(torch.float64).train()
    model[0].weight.requires_grad_(False)
    model.eval()[5].train()
    before = dict(model.state_dict(keep_vars=True))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("after"))
    model[0].register_forward_pre_hook(lambda *_: calls.append("before"))
    model[0].register_full_backward_hook(lambda *_: calls.append("gradient"))
    ids = [id(module) for module in model]
    rectify(model)
    assert [id(module) for module in model] == ids
    after = model.state_dict(keep_vars=True)
    assert all(after[name] is tensor for name, tensor in before.items())
    assert model[5].training and not model[0].training and model[0].weight.dtype == torch.float64
    assert not model[0].weight.requires_grad
    model(X.double().requires_grad_()).sum().backward()
    assert calls == ["before", "after", "gradient"]
    weight = model[5].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(weight, model[5].weight)
    meta = rectify(small().to("meta"))
    assert meta.changed == ("0", "5")


def test_a_convolution_is_a_model_too() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    assert rectify(layer).changed == ("",)
    assert isinstance(layer, RectifiedConv2d)


def test_names_and_predicate_choose() -> None:
    model = nn.ModuleDict({"stem": nn.Conv2d(1, 1, 3, padding=1), "stage": small()})
    first = copy.deepcopy(model)
    assert rectify(first, names=["st*m"]).changed == ("stem",)
    second = copy.deepcopy(model)
    assert rectify(second, predicate=lambda name, module: getattr(module, "bias", 0) is None).changed == ("stage.5",)
    assert rectify(model, names=["stage.*"], predicate=lambda name, _: name != "stage.0").changed == ("stage.5",)
    with pytest.raises(ValueError, match=r"no module 'stage.7'; the nearest is 'stage\.\d'"):
        rectify(model, names=["stage.7"])


@pytest.mark.parametrize("option", ["mode", "bias_mode", "empty"])
def test_bad_options_change_nothing(option: str) -> None:
    model = small()
    with pytest.raises(ValueError, match=option):
        rectify(model, **{option: "?"})
    assert type(model[0]) is nn.Conv2d


def test_shared_modules_stay_shared() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(conv, nn.ReLU(), conv)
    assert rectify(model).changed == ("0", "2")
    assert model[0] is model[2] is conv
    assert len(list(model.parameters())) == 2
    assert plain(model).changed == ("0", "2")


def test_shared_weights_stay_shared() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    model[1].weight = model[0].weight
    rectify(model)
    assert model[1].weight is model[0].weight


def test_rectifying_and_fusing_batch_norm_commute() -> None:
    fused_last, fused_first = seeded_twins()
    rectify(fused_last)
    fused_last = fuse_conv_bn_eval(fused_last[0], fused_last[1])
    fused_first = fuse_conv_bn_eval(fused_first[0], fused_first[1])
    rectify(fused_first)
    torch.testing.assert_close(fused_first(X.double()), fused_last(X.double()))


def seeded_twins() -> tuple[nn.Sequential, nn.Sequential]:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)).double().eval()
    for tensor in (model[1].weight, model[1].bias, model[1].running_mean):
        nn.init.normal_(tensor)
    return model, copy.deepcopy(model)


def expect_rectified(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    from rectexport.models.layers.functional import rectified_conv2d

    torch.testing.assert_close(layer(X), rectified_conv2d(X, weight, bias, padding=1))


def test_weight_norm_old_and_new() -> None:
    with pytest.warns(FutureWarning):
        hooked = weight_norm(nn.Conv2d(3, 4, 3, padding=1))
    parametrized = parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))
    for layer in (hooked, parametrized):
        before = layer(X)
        keys = list(layer.state_dict())
        assert rectify(layer).changed[0] == ""
        assert isinstance(layer, RectifiedConv2d) and list(layer.state_dict()) == keys
        expect_rectified(layer, layer.weight, layer.bias)
        layer(X).sum().backward()
        assert all(parameter.grad is not None for parameter in layer.parameters())
        plain(layer)
        assert torch.equal(layer(X), before) and not isinstance(layer, RectifiedConv2d)
    rectify(parametrized)
    assert torch.equal(copy.deepcopy(parametrized)(X), parametrized(X))


def test_lazy_layers_are_rectified_from_their_first_call() -> None:
    torch.manual_seed(0)
    lazy = nn.LazyConv2d(4, 3, padding=1)
    assert rectify(lazy).changed == ("",)
    y = lazy(X)
    assert type(lazy) is RectifiedConv2d
    expect_rectified(lazy, lazy.weight, lazy.bias)
    assert torch.equal(lazy(X), y)
    back = nn.LazyConv2d(4, 3, padding=1)
    rectify(back), plain(back)
    assert type(back) is nn.LazyConv2d
    back(X)
    assert type(back) is nn.Conv2d


class Scaled(nn.Conv2d):
    """A convolution of somebody's own."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_modules_that_cannot_be_rectified_are_reported_with_the_reason() -> None:
    model = nn.ModuleDict(
        {
            "reflect": nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
            "own": Scaled(1, 1, 3, padding=1),
            "line": nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"),
            "up": nn.ConvTranspose2d(1, 1, 3, padding=1),
            "pad": nn.ZeroPad2d(1),
            "done": RectifiedConv2d(1, 1, 3, padding=1),
            "qat": torch.ao.nn.qat.Conv2d(1, 1, 3, padding=1, qconfig=torch.ao.quantization.get_default_qat_qconfig()),
            "bare": nn.Conv2d(1, 1, 3),
        }
    )
    report = rectify(model)
    assert report.changed == ()
    reasons = dict(report.skipped)
    assert list(reasons) == ["reflect", "own", "line", "up", "pad", "done", "qat"]
    assert reasons["reflect"] == "padding_mode is 'reflect': no zeros to rectify"
    assert reasons["own"] == "Scaled may compute something else than Conv2d"
    assert reasons["line"] == "padding_mode is 'circular': no zeros to rectify"
    assert reasons["up"] == "ConvTranspose2d has no rectified form"
    assert reasons["pad"] == "ZeroPad2d pads outside of a convolution"
    assert reasons["done"] == "already rectified"
    assert "7 left alone" in str(report)


class Same(nn.Conv2d):
    """TensorFlow's padding, computed from the input's size in forward."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(input, (0, 1, 0, 1)))


class Loose(nn.Module):
    """A convolution that is no Conv2d."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 3, 3))


class Named(nn.Conv2d):
    """Conv2d by another name."""


def test_convolutions_that_may_pad_in_their_forward_are_listed() -> None:
    kinds = {"same": Same(1, 1, 3), "loose": Loose(), "point": Same(1, 1, 1), "named": Named(1, 1, 3)}
    model = nn.ModuleDict({**kinds, "bare": nn.Conv2d(1, 1, 3)})
    report = rectify(model)
    assert report.skipped == (
        ("same", "Same may pad in its forward"),
        ("loose", "Loose has no rectified form, and may pad in its forward"),
    )


def test_unequal_padding_has_no_way_back() -> None:
    model = nn.Sequential(
        RectifiedConv2d(1, 1, 3, padding=(1, 1, 2, 2)), RectifiedConv2d(1, 1, 3, padding=(0, 1, 2, 2))
    )
    before = model[1](torch.ones(1, 1, 4, 4))
    report = plain(model)
    assert report.changed == ("0",) and "(0, 1, 2, 2) has no form in Conv2d" in report.skipped[0][1]
    assert type(model[0]) is nn.Conv2d and model[0].padding == (2, 1)
    assert torch.equal(model[1](torch.ones(1, 1, 4, 4)), before)


def test_fused_modules_of_torch_ao_and_wrappers() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    model = nn.DataParallel(nn.Sequential(torch.ao.nn.intrinsic.ConvReLU2d(conv, nn.ReLU())))
    assert rectify(model).changed == ("module.0.0",)
    assert isinstance(model.module[0][0], RectifiedConv2d)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused() -> None:
    with pytest.raises(ValueError, match="TorchScript cannot be changed"):
        rectify(torch.jit.script(nn.Conv2d(1, 1, 3, padding=1)))


def test_a_rectified_model_exports() -> None:
    model = small().eval()
    rectify(model)
    program = torch.export.export(model, (X,))
    assert sum("rectexport.rectify" in str(node.target) for node in program.graph.nodes) == 2
    torch.testing.assert_close(program.module()(X), model(X))


@pytest.mark.parametrize("axes", [1, 3])
def test_along_one_and_three_axes(axes: int) -> None:
    conv, lazy = (getattr(nn, f"{kind}{axes}d") for kind in ("Conv", "LazyConv"))
    model = nn.Sequential(conv(2, 3, 3, padding=1), nn.ReLU(), lazy(4, 5, 2, 2), conv(4, 2, 1))
    before = copy.deepcopy(model)
    x = torch.randn(2, 2, *(6, 7, 5)[:axes])
    report = rectify(model, mode="average")
    assert report == Report(("0", "2"), ())
    assert [type(model[index]).__name__ for index in (0, 2)] == [f"RectifiedConv{axes}d", f"LazyRectifiedConv{axes}d"]
    model(x)
    assert type(model[2]).__name__ == f"RectifiedConv{axes}d"
    assert rectify(model).skipped == (("0", "already rectified"), ("2", "already rectified"))
    assert plain(model) == Report(("0", "2"), ())
    assert [type(module).__name__ for module in model] == [
        f"Conv{axes}d", "ReLU", f"Conv{axes}d", f"Conv{axes}d",
    ]  # fmt: skip
    before(x)
    before.load_state_dict(model.state_dict())
    assert torch.equal(before(x), model(x))


def test_uneven_padding_along_one_axis_stays_rectified() -> None:
    layer = nn.Sequential(RectifiedConv1d(1, 1, 3, padding=(2, 0)), RectifiedConv1d(1, 1, 3, padding=(2, 2)))
    report = plain(layer)
    assert report == Report(("1",), (("0", "padding (2, 0) has no form in Conv1d"),))
    assert layer[1].padding == (2,)
