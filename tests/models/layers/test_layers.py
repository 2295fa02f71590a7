"""Every layer against the NumPy reference, in float64, over all its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rectexport.models import (
    AVR,
    CReLU,
    RectifiedConv1d,
    RectifiedConv2d,
    RectifiedConv3d,
    ScaledCReLU,
    SymmetricConv2d,
    SymmetricPad2d,
)
from rectexport.models.layers.functional import rectified_conv2d, symmetric_conv2d
from rectexport.models.layers.geometry import rectification_map, resolve_padding
from rectexport.models.layers.symmetry import ORDERS, REMAINDERS
from rectexport.plugins import reference

few = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
SIZE = st.integers(1, 12)
PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))


def draw_array(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng((seed, *shape)).standard_normal(shape))


def assert_close(actual: Tensor, expected: np.ndarray, atol: float = 1e-12) -> None:
    assert actual.dtype == torch.float64 and actual.shape == expected.shape
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=1e-11, atol=atol)


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a convolution and its input's size; pads beyond the kernel give windows with v = 0."""
    kernel = draw(PAIR)
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    padding: Any = draw(
        st.one_of(
            st.sampled_from(("valid", "same")),
            st.integers(0, 3),
            st.tuples(*[st.integers(0, 3)] * 2),
            st.tuples(*[st.integers(0, 5)] * 4),
        )
    )
    stride = (1, 1) if padding == "same" else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    channels = (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)))
    size = (draw(SIZE), draw(SIZE))
    top, left, bottom, right = resolve_padding(padding, kernel, stride, dilation)
    assume(size[0] + top + bottom > dilation[0] * (kernel[0] - 1))
    assume(size[1] + left + right > dilation[1] * (kernel[1] - 1))
    return {
        "channels": channels,
        "size": size,
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }


OPTIONS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(("sum", "average")),
        "bias_mode": st.sampled_from(("after", "inside")),
        "empty": st.sampled_from(("bias", "zero")),
    }
)


def make(arguments: dict[str, Any], **options: str) -> tuple[RectifiedConv2d, Tensor]:
    rest = {key: value for key, value in arguments.items() if key not in ("channels", "size")}
    torch.manual_seed(0)
    layer = RectifiedConv2d(*arguments["channels"], **rest, **options, dtype=torch.float64)
    return layer, draw_array(2, arguments["channels"][0], *arguments["size"])


def expected_output(layer: RectifiedConv2d, x: Tensor) -> np.ndarray:
    pads = resolve_padding(layer.padding, layer.kernel_size, layer.stride, layer.dilation)
    return reference.rectified_conv2d(
        x.numpy(),
        layer.weight.detach().numpy(),
        None if layer.bias is None else layer.bias.detach().numpy(),
        layer.stride,
        pads,
        layer.dilation,
        layer.groups,
        layer.mode,
        layer.bias_mode,
        layer.empty,
    )


@few
@given(convolutions(), OPTIONS)
def test_rectified_convolution(arguments: dict[str, Any], options: dict[str, str]) -> None:
    layer, x = make(arguments, **options)
    before = x.clone()
    assert_close(layer(x), expected_output(layer, x))
    assert torch.equal(x, before)
    with torch.inference_mode():
        assert_close(layer(x), expected_output(layer, x))


@few
@given(convolutions())
def test_padding_means_the_same_as_in_torch(arguments: dict[str, Any]) -> None:
    """Undoing r gives torch.nn.Conv2d's own output, so padding, stride, dilation and groups mean the same."""
    assume(isinstance(arguments["padding"], str | int) or len(arguments["padding"]) == 2)
    layer, x = make({**arguments, "bias": False})
    rest = {key: value for key, value in arguments.items() if key not in ("channels", "size", "bias")}
    plain = nn.Conv2d(*arguments["channels"], **rest, bias=False, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    pads = resolve_padding(layer.padding, layer.kernel_size, layer.stride, layer.dilation)
    r = reference.rectification_map(*arguments["size"], layer.kernel_size, layer.stride, pads, layer.dilation)
    assert_close(layer(x), r * plain(x).detach().numpy())


def test_windows_without_a_tap() -> None:
    x, weight, bias = draw_array(1, 1, 3, 3), draw_array(2, 1, 1, 1), torch.tensor([2.0, -3.0]).double()
    assert torch.equal(rectified_conv2d(x, weight, bias, padding=1)[0, :, 0, 0], bias)
    assert not rectified_conv2d(x, weight, bias, padding=1, empty="zero")[0, :, 0].any()
    assert not rectified_conv2d(x, weight, bias, padding=1, bias_mode="inside")[0, :, 0].any()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("padding_mode", "reflect"),
        ("mode", "avg"),
        ("bias_mode", "before"),
        ("empty", "nan"),
        ("padding", "full"),
        ("padding", -1),
        ("padding", (1, 2, 3)),
        ("stride", (1, 2, 3)),
    ],
)
def test_bad_arguments_are_named(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=argument):
        RectifiedConv2d(4, 4, 3, **{argument: value})


def test_same_padding_refuses_a_stride() -> None:
    with pytest.raises(ValueError, match="padding='same' needs stride 1"):
        RectifiedConv2d(4, 4, 3, stride=2, padding="same")


@few
@given(
    st.integers(1, 13),
    SIZE,
    SIZE,
    st.sampled_from((2, 4)),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(REMAINDERS),
)
def test_symmetric_padding(channels: int, height: int, width: int, kernel: int, order: str, remainder: str) -> None:
    x = draw_array(2, channels, height, width)
    layer = SymmetricPad2d(kernel, order, remainder)
    if channels % 4 and remainder == "error":
        with pytest.raises(ValueError, match=f"expected a multiple of 4.*got {channels}"):
            layer(x)
        return
    assert_close(layer(x), reference.symmetric_pad(x.numpy(), kernel, order, remainder))


@few
@given(
    st.integers(1, 13),
    SIZE,
    SIZE,
    st.sampled_from((2, 4)),
    st.sampled_from(sorted(ORDERS)),
    st.sampled_from(("first", "last")),
    st.integers(1, 3),
    st.sampled_from((1, 2, 4)),
)
def test_symmetric_convolution(
    channels: int, height: int, width: int, kernel: int, order: str, remainder: str, stride: int, groups: int
) -> None:
    channels *= groups if channels < 4 else 1
    assume(channels % groups == 0)
    layer = SymmetricConv2d(channels, 4, kernel, stride, groups, dtype=torch.float64, order=order, remainder=remainder)
    x = draw_array(2, channels, height, width)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = reference.symmetric_conv2d(x.numpy(), weight, bias, stride, groups, order, remainder)
    assert_close(layer(x), expected)


def test_symmetric_layers_refuse_unknown_options() -> None:
    refused = {"kernel_size": (3,), "order": (2, "ab"), "remainder": (2, "wu", "middle")}
    for message, arguments in refused.items():
        with pytest.raises(ValueError, match=message):
            SymmetricPad2d(*arguments)
    with pytest.raises(ValueError, match="multiple of 4"):
        SymmetricConv2d(6, 4, remainder="error")
    with pytest.raises(ValueError, match="square"):
        symmetric_conv2d(draw_array(1, 4, 3, 3), draw_array(1, 4, 2, 4))


@few
@given(st.integers(1, 3), st.integers(1, 5), st.lists(st.integers(1, 5), max_size=3))
def test_crelu_and_its_relatives(batch: int, channels: int, spatial: list[int]) -> None:
    x = draw_array(batch, channels, *spatial)
    assert_close(CReLU()(x), reference.crelu(x.numpy()))
    assert_close(CReLU(nn.ReLU())(x), reference.crelu(x.numpy()))
    leaky = reference.crelu(x.numpy(), lambda v: np.where(v > 0, v, 0.01 * v))
    assert_close(CReLU(nn.LeakyReLU(0.01))(x), leaky)
    assert_close(AVR()(x), reference.avr(x.numpy()))
    layer = ScaledCReLU(channels).double()
    assert_close(layer(x), reference.crelu(x.numpy()))
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    assert_close(layer(x), reference.scaled_crelu(x.numpy(), weight, bias))


def test_crelu_on_another_axis() -> None:
    x = draw_array(2, 3, 4)
    expected = torch.from_numpy(reference.crelu(x.transpose(1, 2).numpy())).transpose(1, 2)
    assert torch.equal(CReLU(dim=-1)(x), expected)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "rectified": lambda: RectifiedConv2d(5, 6, 3, 2, 1),
    "rectified without bias": lambda: RectifiedConv2d(5, 6, (3, 2), 1, (2, 1), bias=False, mode="average"),
    "rectified inside": lambda: RectifiedConv2d(5, 6, 3, 1, (1, 2, 0, 3), 2, bias_mode="inside"),
    "rectified to zero": lambda: RectifiedConv2d(5, 6, 1, 1, 1, empty="zero"),
    "C2sp": lambda: SymmetricConv2d(5, 6, 2),
    "C4sp strided": lambda: SymmetricConv2d(5, 6, 4, 2, remainder="last"),
    "symmetric pad": lambda: SymmetricPad2d(2),
    "CReLU": CReLU,
    "leaky CReLU": lambda: CReLU(nn.LeakyReLU(0.1)),
    "AVR": AVR,
    "scaled CReLU": lambda: ScaledCReLU(5),
}
layers = pytest.mark.parametrize("name", LAYERS)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


@layers
def test_gradients(name: str) -> None:
    layer, x = build(name).double(), draw_array(2, 5, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))
    assert torch.autograd.gradgradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@layers
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """Autocast and a converted layer keep the low dtype and err by no more than its rounding."""
    layer, x = build(name), draw_array(2, 5, 9, 7).float()
    with torch.no_grad():
        expected = layer(x)
        low = layer.to(dtype)(x.to(dtype))
        assert low.dtype == dtype
        assert relative_error(low, expected) < tolerance
        layer = build(name)
        with torch.autocast("cpu", dtype):
            cast = layer(F.conv2d(x, torch.eye(5)[:, :, None, None]))
        assert cast.dtype == dtype
        assert relative_error(cast, expected) < tolerance


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()


@layers
def test_training_under_autocast(name: str) -> None:
    layer, x = build(name), draw_array(2, 5, 6, 6).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = layer(x).float().square().mean()
    loss.backward()
    gradients = [x.grad, *(parameter.grad for parameter in layer.parameters())]
    assert all(g is not None and g.isfinite().all() and g.dtype == torch.float32 for g in gradients)


@layers
def test_channels_last_is_kept(name: str) -> None:
    layer = build(name).to(memory_format=torch.channels_last)
    x = draw_array(2, 5, 6, 7).float()
    with torch.no_grad():
        y = layer(x.to(memory_format=torch.channels_last))
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y, layer(x))


@layers
def test_copies_and_pickles(name: str, tmp_path: Any) -> None:
    import copy
    import pickle

    layer, x = build(name), draw_array(1, 5, 4, 4).float()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))
        assert repr(twin) == repr(layer)


@layers
def test_every_input_conv2d_takes(name: str) -> None:
    """An empty batch and, as torch.nn.Conv2d allows, a single image without a batch dimension."""
    layer, x = build(name), draw_array(1, 5, 6, 6).float()
    assert layer(x[:0]).shape == (0, *layer(x).shape[1:])
    if isinstance(layer, RectifiedConv2d):
        assert torch.equal(layer(x[0]), layer(x)[0])


def test_the_input_of_an_identity_survives() -> None:
    """The rectification multiplies in place; what it multiplies is never the input."""
    layer = RectifiedConv2d(2, 2, 1, padding=1, groups=2, bias=False)
    nn.init.ones_(layer.weight)
    for x in (torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3).to(memory_format=torch.channels_last)):
        before = x.clone()
        layer(x), layer(x.requires_grad_())
        assert torch.equal(x, before)


def test_one_map_serves_inference_then_training() -> None:
    layer, x = RectifiedConv2d(3, 3, 3, padding=1, bias=False), torch.randn(1, 3, 9, 11)
    with torch.inference_mode():
        first = layer(x)
    y = layer(x)
    assert torch.equal(first, y)
    y.square().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()
    again = layer(x)
    assert torch.equal(again, y), "the cached map must not change"


def test_the_map_is_counted_once_per_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    from rectexport.models.layers import functional

    calls: list[tuple[Any, ...]] = []

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return rectification_map(*arguments)

    monkeypatch.setattr(functional, "rectification_map", counted)
    monkeypatch.setattr(functional, "_MAPS", {})
    one, two = RectifiedConv2d(3, 3, 3, padding=1), RectifiedConv2d(3, 8, 3, padding=1, bias=False)
    for _ in range(3):
        one(torch.randn(2, 3, 8, 8)), two(torch.randn(1, 3, 8, 8))
    assert len(calls) == 1
    one(torch.randn(1, 3, 9, 8))
    assert len(calls) == 2


def test_the_cache_of_maps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from rectexport.models.layers import functional

    monkeypatch.setattr(functional, "_MAPS", {})
    monkeypatch.setattr(functional, "_MAPS_LIMIT", 3)
    layer = RectifiedConv2d(1, 1, 3, padding=1)
    for size in range(1, 9):
        layer(torch.randn(1, 1, size, size))
    assert len(functional._MAPS) == 3


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
@layers
def test_jit_trace_follows_the_size(name: str) -> None:
    layer = build(name)
    traced = torch.jit.trace(layer, torch.randn(1, 5, 6, 6))
    for shape in ((1, 5, 6, 6), (3, 5, 9, 4)):
        x = torch.randn(*shape)
        torch.testing.assert_close(traced(x), layer(x))


@pytest.mark.parametrize("options", [{}, {"mode": "average", "bias_mode": "inside"}, {"empty": "zero"}])
@pytest.mark.parametrize(
    ("kind", "arguments", "size"),
    [
        (RectifiedConv1d, (2, 4, 3, 2, (4, 1), 1, 2), (7,)),
        (RectifiedConv1d, (2, 4, 4, 1, "same"), (5,)),
        (RectifiedConv3d, (2, 4, (3, 2, 1), (1, 2, 1), (1, 2, 1), (2, 1, 1)), (4, 5, 3)),
    ],
)
def test_along_one_and_three_axes(kind: Any, arguments: Any, size: Any, options: dict[str, str]) -> None:
    torch.manual_seed(0)
    layer = kind(*arguments, dtype=torch.float64, **options)
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    pads = resolve_padding(layer.padding, layer.kernel_size, layer.stride, layer.dilation)
    window = (layer.stride, pads, layer.dilation, layer.groups)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = reference.rectified_conv(x.numpy(), weight, bias, *window, **options)
    assert_close(layer(x), expected)
    assert_close(layer(x[0]), expected[0])
