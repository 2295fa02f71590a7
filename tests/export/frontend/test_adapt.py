"""Third-party modules, written here after their published behaviour, are replaced by ours before tracing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rectexport import export, load
from rectexport.exporter.frontend.adapt import Swap, register_adapter, unregister_adapter
from rectexport.exporter.frontend.adapt import adapt as adapt_all
from rectexport.models import CReLU, RectifiedConv2d, SymmetricConv2d, SymmetricPad2d
from rectexport.plugins import reference
from rectexport.runtime.errors import BadInput, ParityError, UsageError


def posing_as(module: str, name: str | None = None):
    """Give a class the module and the name of the third party's."""

    def rename(cls: type) -> type:
        cls.__module__, cls.__qualname__ = module, name or cls.__name__
        return cls

    return rename


@posing_as("rfconv.nn")
class RFConv2d(nn.Conv2d):
    """Its attributes; its kernels exist in C++ only, so that it neither traces nor runs here."""

    def __init__(self, *args, average_mode=False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.rectify = average_mode or self.padding[0] > 0 or self.padding[1] > 0
        self.average = average_mode

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("rectify_cpu is not compiled")


@posing_as("models.partialconv2d")
class PartialConv2d(nn.Conv2d):
    """Counts taps by a convolution of ones."""

    def __init__(self, *args, return_mask=False, multi_channel=False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.return_mask, self.multi_channel = return_mask, multi_channel
        channels = (self.out_channels, self.in_channels) if multi_channel else (1, 1)
        self.weight_maskUpdater = torch.ones(*channels, *self.kernel_size)
        self.slide_winsize = self.weight_maskUpdater[0].numel()

    def forward(self, x: Tensor, mask: Tensor | None = None):
        if mask is None:
            mask = torch.ones(1, self.weight_maskUpdater.shape[1], *x.shape[2:], dtype=x.dtype)
        kernel = self.weight_maskUpdater.to(x.dtype)
        counts = F.conv2d(mask, kernel, None, self.stride, self.padding, self.dilation)
        seen = counts.clamp(0, 1)
        ratio = self.slide_winsize / (counts + 1e-8) * seen
        shift = 0 if self.bias is None else self.bias.view(1, -1, 1, 1)
        output = ((super().forward(x * mask) - shift) * ratio + shift) * seen
        return (output, seen) if self.return_mask else output


@posing_as("module.Spconv2d")
class Spconv2d(nn.Module):
    """Four corner pads of one, then a convolution."""

    def __init__(self, inputs, outputs, kernel_size, stride=1, padding=0) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, kernel_size, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] % 4 == 0
        pads = ((1, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1), (0, 1, 0, 1))
        parts = [F.pad(part, pad) for part, pad in zip(x.chunk(4, 1), pads, strict=True)]
        return self.conv(torch.cat(parts, 1))


@posing_as("layers.pad", "SymmetricPad2d")
class CirculatingPad(nn.Module):
    """TL, BL, TR, BR; the last group takes the rest."""

    def forward(self, x: Tensor) -> Tensor:
        share = x.shape[1] // 4
        parts = x.split([share, share, share, x.shape[1] - 3 * share], 1)
        pads = ((1, 0, 1, 0), (1, 0, 0, 1), (0, 1, 1, 0), (0, 1, 0, 1))
        return torch.cat([F.pad(part, pad) for part, pad in zip(parts, pads, strict=True)], 1)


@posing_as("layers.pad", "SymmetricPad2d")
class MirrorPad(nn.Module):
    """Another module of that name."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 1, 1, 1), mode="reflect")


@posing_as("nets.activation", "CReLU")
class Concatenated(nn.Module):
    """A CReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((F.relu(x), F.relu(-x)), 1)


@posing_as("nets.activation", "CReLU")
class LeakyConcatenated(nn.Module):
    """A CReLU around a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(torch.cat((x, -x), 1))


@posing_as("nets.activation", "CReLU")
class Clipped(nn.Module):
    """Another module of that name."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)


@posing_as("nets.activation", "CReLU")
class ComplexHalves(nn.Module):
    """Another module of that name."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(F.relu(x.real), F.relu(x.imag))


def adapt(model: nn.Module) -> tuple[nn.Module, list[Swap]]:
    done = adapt_all(model)
    return done.model, done.swaps


X = torch.randn(2, 8, 7, 6, generator=torch.Generator().manual_seed(0))


def test_the_names_are_the_third_parties() -> None:
    assert (RFConv2d.__module__, RFConv2d.__qualname__) == ("rfconv.nn", "RFConv2d")


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 5), "padding": (1, 2), "stride": 2},
        {"kernel_size": 5, "padding": 2, "dilation": 2, "groups": 2},
        {"kernel_size": 1, "padding": 1},
        {"kernel_size": 3},
    ],
)
def test_rfconv(average: bool, window: dict) -> None:
    module = RFConv2d(8, 6, average_mode=average, **window)
    adapted, swaps = adapt(nn.Sequential(module))
    assert isinstance(adapted[0], RectifiedConv2d) and "exported as defined in the paper" in str(swaps[0])
    options = {
        "strides": module.stride,
        "pads": module.padding * 2,
        "dilations": module.dilation,
        "groups": module.groups,
        "mode": "average" if average else "sum",
    }
    weight, bias = (entry.detach().numpy() for entry in (module.weight, module.bias))
    expected = reference.rectified_conv2d(X, weight, bias, bias_mode="inside", **options)
    np.testing.assert_allclose(adapted(X).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multi_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 7, "padding": 3, "stride": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 1, "padding": 1},
        {"kernel_size": 3},
    ],
)
def test_partialconv(window: dict, bias: bool, multi_channel: bool) -> None:
    module = PartialConv2d(8, 6, bias=bias, multi_channel=multi_channel, **window)
    adapted, _ = adapt(module)
    assert isinstance(adapted, RectifiedConv2d)
    torch.testing.assert_close(adapted(X), module(X))


def test_partialconv_that_returns_its_mask_stays_as_it_is() -> None:
    model = nn.ModuleDict({"stem": PartialConv2d(8, 6, 3, return_mask=True)})
    done = adapt_all(model)
    assert done.model is model and done.reference is model and not done.swaps


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = PartialConv2d(8, 6, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.conv(x, mask)


def test_partialconv_of_another_numerator_is_exported_as_it_stands(tmp_path) -> None:
    """With a mask it is another layer (masked.py), unless it is not recognized."""
    model = Masked().eval()
    model.conv.slide_winsize = 5
    mask = (X[:1, :1] > 0).float()
    done = adapt_all(model, (X, mask))
    assert not done.swaps
    export(model, (X, mask), tmp_path / "out")
    with load(tmp_path / "out", backend="onnxruntime") as session:
        np.testing.assert_allclose(session(X.numpy(), mask.numpy()), model(X, mask).detach(), rtol=1e-4, atol=1e-5)


def test_partialconv_with_a_mask_becomes_a_masked_convolution() -> None:
    mask = (X[:1, :1] > 0).float()
    done = adapt_all(Masked().eval(), (X, mask))
    assert [str(swap) for swap in done.swaps] == [
        "conv: models.partialconv2d.PartialConv2d → FeaturesOnly "
        "(multi_channel False, numerator 'mask', bias_mode 'after')"
    ]


@pytest.mark.parametrize(("kernel", "padding", "stride"), [(2, 0, 1), (4, 1, 1), (2, 0, 2)])
def test_elnas(kernel: int, padding: int, stride: int) -> None:
    module = Spconv2d(8, 6, kernel, stride, padding)
    adapted, _ = adapt(module)
    assert isinstance(adapted, SymmetricConv2d) and adapted.order == "elnas"
    torch.testing.assert_close(adapted(X), module(X))


@posing_as("third.party", "Anything")
class RunningRFConv(nn.Conv2d):
    """RFConv's arithmetic in Python: the bias is rectified too; perhaps only the first planes of the output are."""

    def __init__(self, *args, average_mode=False, faulty=False, factor=1.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.rectify, self.average, self.faulty, self.factor = True, average_mode, faulty, factor

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        ones = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)
        window = torch.ones(1, 1, *self.kernel_size, dtype=x.dtype)
        counts = F.conv2d(ones, window, None, self.stride, self.padding, self.dilation)
        r = (1 if self.average else window.numel()) / counts * self.factor
        if not self.faulty:
            return y * r
        planes = x.shape[0] * x.shape[1]
        flat = y.flatten(0, 1)
        return torch.cat((flat[:planes] * r[0], flat[planes:])).view_as(y)


WINDOWS = [{"padding": 1}, {"padding": (2, 1), "dilation": (2, 1)}, {"padding": 1, "stride": 2, "groups": 2}]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_copy_under_another_name_is_known_by_its_answers(window: dict, average: bool) -> None:
    module = RunningRFConv(4, 6, 3, average_mode=average, **window)
    done = adapt_all(nn.Sequential(module), (X[:, :4],))
    conv = done.model[0]
    assert isinstance(conv, RectifiedConv2d) and (conv.mode, conv.bias_mode) == (
        "average" if average else "sum",
        "inside",
    )
    assert done.reference[0] is module
    torch.testing.assert_close(conv(X[:, :4]), module(X[:, :4]))


def test_a_known_fault_is_named_and_not_the_reference(tmp_path) -> None:
    model = nn.Sequential(RunningRFConv(8, 16, 3, padding=1, faulty=True), nn.ReLU())
    done = adapt_all(model, (X,))
    assert "rectifies only the first N·C_in planes" in str(done.swaps[0])
    assert isinstance(done.reference[0], RectifiedConv2d)
    same = adapt_all(nn.Sequential(RunningRFConv(8, 8, 3, padding=1, faulty=True)), (X,))
    assert same.reference[0].faulty, "with as many outputs as inputs it is right"


def test_nan_where_no_tap_is_valid() -> None:
    done = adapt_all(nn.Sequential(RunningRFConv(8, 8, 1, padding=1)), (X,))
    assert "NaN where no tap is valid" in str(done.swaps[0]) and isinstance(done.reference[0], RectifiedConv2d)


@pytest.mark.parametrize("fault", [{"factor": 8.0}, {"padding_mode": "reflect"}])
def test_an_unknown_difference_leaves_the_module_alone(fault: dict) -> None:
    model = nn.Sequential(RunningRFConv(8, 8, 3, padding=1, **fault))
    done = adapt_all(model, (X,))
    assert done.model is model and not done.swaps
    assert done.left == ["left as it is: 0: third.party.Anything: its answers are those of no convolution of ours"]


class Standardized(nn.Conv2d):
    """A convolution of another kind."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, self.stride, self.padding)


class Renamed(nn.Conv2d):
    """Conv2d by another name."""


class OwnPlain(nn.Conv2d):
    """Conv2d, written again."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def test_other_convolutions_are_not_mentioned() -> None:
    model = nn.Sequential(*(kind(8, 8, 3, padding=1) for kind in (Standardized, Renamed, OwnPlain, nn.Conv2d)))
    done = adapt_all(model, (X,))
    assert done.model is model and not done.left


@posing_as("nets.blocks")
class Doubling(nn.Module):
    """A CReLU by another name, with the channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, -x), -1).relu()


@posing_as("nets.blocks")
class CornerConv(nn.Conv2d):
    """An even kernel that pads towards the corners in its own forward; the first groups take what is left."""

    def forward(self, x: Tensor) -> Tensor:
        parts = x.tensor_split(4, 1)
        pads = ((0, 1, 0, 1), (1, 0, 1, 0), (1, 0, 0, 1), (0, 1, 1, 0))
        padded = torch.cat([F.pad(part, pad) for part, pad in zip(parts, pads, strict=True)], 1)
        return F.conv2d(padded, self.weight, self.bias)


def test_other_layers_of_ours_under_other_names() -> None:
    adapted, swaps = adapt(nn.Sequential(Doubling(), CornerConv(8, 5, 2)))
    assert isinstance(adapted[0], CReLU) and adapted[0].dim == -1
    assert isinstance(adapted[1], SymmetricConv2d) and adapted[1].order == "wu"
    assert [swap.before for swap in swaps] == ["nets.blocks.Doubling", "nets.blocks.CornerConv"]


def test_the_reference_is_the_module_as_it_was_given(tmp_path) -> None:
    """A replacement that computes something else is found out, although the graph was made from it."""
    register_adapter("nets.activation.Concatenated")(lambda module: None)
    register_adapter("nets.activation.CReLU")(lambda module: nn.Sequential(CReLU(), nn.Hardtanh()))
    try:
        with pytest.raises(ParityError, match="disagrees with PyTorch"):
            export(nn.Sequential(Concatenated(), nn.Conv2d(16, 2, 1)), 3 * X, tmp_path / "out")
    finally:
        unregister_adapter("nets.activation.CReLU")
        unregister_adapter("nets.activation.Concatenated")


class Heads(nn.Module):
    """Keeps what it computed last, and what it computes from the size, as detectors do; its train() returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.size, self.grid, self.last = nn.Conv2d(8, 2, 3, padding=1), None, torch.zeros(0), None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.size != y.shape:
            self.size, self.grid = (
                y.shape,
                torch.arange(y.shape[2] * y.shape[3], dtype=x.dtype).view(1, 1, *y.shape[2:]),
            )
        self.last = y + self.grid
        return self.last

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


def test_networks_that_keep_state(tmp_path) -> None:
    model = Heads()
    before = model(X[:, :, :3])
    size = {2: torch.export.Dim("height", min=4, max=16)}
    export(model, X, tmp_path / "out", dynamic_shapes=(size,))
    assert model.last is before and model.training
    with load(tmp_path / "out", backend="onnxruntime") as session:
        for rows in (4, 7):
            got = session(X[:, :, :rows].numpy())
            np.testing.assert_allclose(got, model(X[:, :, :rows]).detach(), rtol=1e-4, atol=1e-5)


def test_elnas_with_other_padding_is_left_alone() -> None:
    module = Spconv2d(8, 6, 4, 1, 0)
    assert adapt(module) == (module, [])


def test_the_circulating_symmetric_pad() -> None:
    adapted, _ = adapt(nn.Sequential(CirculatingPad(), nn.Conv2d(8, 6, 2)))
    pad = adapted[0]
    assert isinstance(pad, SymmetricPad2d) and (pad.order, pad.remainder) == ("symmetricpad2d", "last")
    torch.testing.assert_close(pad(X), CirculatingPad()(X))


@pytest.mark.parametrize("kind", [Concatenated, LeakyConcatenated])
def test_crelu(kind: type) -> None:
    module = kind()
    adapted, _ = adapt(module)
    assert isinstance(adapted, CReLU)
    torch.testing.assert_close(adapted(X), module(X))


@pytest.mark.parametrize("kind", [Clipped, ComplexHalves, MirrorPad])
def test_other_modules_of_the_same_name_are_left_alone(kind: type) -> None:
    model = nn.Sequential(kind())
    assert adapt(model) == (model, [])


def test_the_original_stays_and_shared_modules_stay_shared() -> None:
    conv = PartialConv2d(8, 8, 3, padding=1)
    model = nn.Sequential(conv, nn.Sequential(conv), Concatenated()).eval()
    adapted, swaps = adapt(model)
    assert model[0] is conv and model[1][0] is conv
    assert adapted[0] is adapted[1][0] and not adapted[0].training
    assert adapted[0].weight is not conv.weight
    assert [swap.path for swap in swaps] == ["0", "2"]


def test_a_tied_weight_stays_tied() -> None:
    first, second = PartialConv2d(8, 8, 3, padding=1), PartialConv2d(8, 8, 3, padding=1)
    second.weight = first.weight
    adapted, _ = adapt(nn.Sequential(first, second))
    assert adapted[0].weight is adapted[1].weight


def test_modules_of_this_package_are_not_replaced() -> None:
    model = nn.Sequential(CReLU(), SymmetricPad2d())
    assert adapt(model) == (model, [])


def test_a_module_with_hooks_is_refused() -> None:
    module = PartialConv2d(8, 6, 3)
    module.register_forward_hook(lambda *_: None)
    with pytest.raises(BadInput, match="has hooks"):
        adapt(nn.Sequential(module))


@posing_as("lab.layers")
class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.numpy() and x


def test_an_adapter_in_three_lines() -> None:
    @register_adapter("lab.layers.Scaled")
    def _(module: nn.Module) -> nn.Module:
        return nn.ReLU()

    try:
        adapted, swaps = adapt(nn.Sequential(Scaled()))
        assert isinstance(adapted[0], nn.ReLU) and str(swaps[0]) == "0: lab.layers.Scaled → ReLU"
        with pytest.raises(UsageError, match=r"lab\.layers\.Scaled: already registered"):
            register_adapter("lab.layers.Scaled")(lambda module: None)
    finally:
        unregister_adapter("lab.layers.Scaled")
    with pytest.raises(UsageError, match="not registered"):
        unregister_adapter("lab.layers.Scaled")


def test_a_registered_adapter_comes_before_ours() -> None:
    register_adapter("nets.activation.CReLU", "as we want it")(lambda module: nn.Identity())
    try:
        adapted, swaps = adapt(nn.Sequential(Concatenated()))
    finally:
        unregister_adapter("nets.activation.CReLU")
    assert isinstance(adapted[0], nn.Identity) and swaps[0].note == "as we want it"


def test_export_reports_replaced_modules(tmp_path) -> None:
    model = nn.Sequential(
        RFConv2d(8, 4, 3, padding=1), Concatenated(), PartialConv2d(8, 8, 3, padding=1), Spconv2d(8, 2, 2)
    )
    package = export(model, (X,), tmp_path / "out")
    log = (tmp_path / "out" / "export.log").read_text(encoding="utf-8")
    for line in ("0: rfconv.nn.RFConv2d → RectifiedConv2d", "1: nets.activation.CReLU → CReLU", "3: module.Spconv2d"):
        assert f"adapted {line}" in log
    assert package.path == tmp_path / "out"


class PartialConv3d(nn.Conv3d):
    """As PartialConv2d, along three axes."""

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)
        counts = F.conv3d(ones, torch.ones(1, 1, *self.kernel_size, dtype=x.dtype), None, self.stride, self.padding)
        return super().forward(x) * (self.weight[0, 0].numel() / (counts + 1e-8)) * counts.clamp(0, 1)


def test_along_three_axes() -> None:
    module = PartialConv3d(2, 4, 3, 2, 1, bias=False)
    done = adapt_all(nn.Sequential(module))
    assert type(done.model[0]).__name__ == "RectifiedConv3d"
    x = torch.randn(1, 2, 5, 6, 7)
    torch.testing.assert_close(done.model(x), module(x))
