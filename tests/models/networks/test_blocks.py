"""Blocks at weight level: every block against the same formula in NumPy, float64, random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from rectexport.models import RectifiedConv2d, ScaledCReLU, SymmetricConv2d
from rectexport.models.networks.blocks import BasicBlock, Bottleneck, spatial_conv
from rectexport.models.networks.dfn import MergeAndRun
from rectexport.models.networks.even_nets import even_block, spatial
from rectexport.models.networks.proportional import plain, preactivation_block
from rectexport.models.networks.pvanet import crelu_block
from rectexport.models.networks.resnest import ResNeStBlock, SplitAttention
from rectexport.plugins import reference

Array = NDArray[np.float64]
CONVS = ("plain", "rectified")
both_convs = pytest.mark.parametrize("conv", CONVS)
SHAPES = [(4, 4, 1), (4, 8, 1), (4, 8, 2)]
shapes = pytest.mark.parametrize(("inputs", "outputs", "stride"), SHAPES)


def settled(module: nn.Module) -> nn.Module:
    """The module in eval mode and float64, with random parameters and random BatchNorm statistics."""
    module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2.0)
    return module.eval()


def image(channels: int, size: tuple[int, int] = (5, 6), seed: int = 0) -> Array:
    return np.random.default_rng((seed, channels)).standard_normal((2, channels, *size))


def array(value: torch.Tensor) -> Array:
    return value.detach().numpy()


def convolve(layer: nn.Conv2d, x: Array) -> Array:
    """The reference of whatever convolution `layer` is."""
    weight = array(layer.weight)
    bias = None if layer.bias is None else array(layer.bias)
    if isinstance(layer, SymmetricConv2d):
        return reference.symmetric_conv2d(x, weight, bias, 1, layer.groups, layer.order, layer.remainder)
    pads = (*layer.padding, *layer.padding)
    if isinstance(layer, RectifiedConv2d):
        return reference.rectified_conv2d(x, weight, bias, layer.stride, pads, layer.dilation, layer.groups, layer.mode)
    return reference.conv2d(x, weight, bias, layer.stride, pads, layer.dilation, layer.groups)


def norm(layer: nn.BatchNorm2d, x: Array) -> Array:
    values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    return reference.batch_norm(x, *(array(v) for v in values), layer.eps)


relu = reference.relu


def average(x: Array, kernel: int, stride: int, pad: int = 0) -> Array:
    """Average pool by loops: padding counts as zeros, and what lies beyond it does not count."""
    n, c, h, w = x.shape
    rows = range(-pad, h + pad - (kernel if pad else 1) + 1, stride)
    columns = range(-pad, w + pad - (kernel if pad else 1) + 1, stride)
    y = np.zeros((n, c, len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            window = x[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            count = kernel * kernel if pad else window.shape[2] * window.shape[3]
            y[:, :, i, j] = window.sum((2, 3)) / count
    return y


def check(module: nn.Module, x: Array, expected: Array) -> None:
    with torch.no_grad():
        actual = module(torch.from_numpy(x)).numpy()
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11)


def shortcut_of(module: nn.Sequential | None, x: Array) -> Array:
    return x if module is None else norm(module[1], convolve(module[0], x))


@both_convs
@shapes
@pytest.mark.parametrize("drop", ["none", "first", "last"])
def test_basic_block(conv: str, inputs: int, outputs: int, stride: int, drop: str) -> None:
    block = settled(BasicBlock(inputs, outputs, stride, make_conv=spatial_conv(conv), drop=drop))
    x = image(inputs)
    inner = norm(block.bn1, convolve(block.conv1, x))
    if drop != "first":
        inner = relu(inner)
    y = norm(block.bn2, convolve(block.conv2, inner)) + shortcut_of(block.downsample, x)
    check(block, x, y if drop == "last" else relu(y))


@both_convs
@pytest.mark.parametrize("groups", [1, 2])
@shapes
def test_bottleneck(conv: str, groups: int, inputs: int, outputs: int, stride: int) -> None:
    """Of ResNet, ResNeXt and RegNetX."""
    block = settled(
        Bottleneck(inputs, outputs, stride, middle=6, groups=groups, make_conv=spatial_conv(conv, "average"))
    )
    x = image(inputs)
    y = relu(norm(block.bn1, convolve(block.conv1, x)))
    y = relu(norm(block.bn2, convolve(block.conv2, y)))
    y = norm(block.bn3, convolve(block.conv3, y))
    check(block, x, relu(y + shortcut_of(block.downsample, x)))


@both_convs
@pytest.mark.parametrize("ratio", ["1:1", "2:1"])
def test_plain_network(conv: str, ratio: str) -> None:
    """Two layers a group: 2:1 leaves out the ReLU after layers 1, 3 and 5, never the stem's."""
    model = settled(plain(3, (2, 2, 2), ratio, conv=conv, width=0.25))
    x = image(3, (7, 8))
    y = relu(norm(model.stem[1][0], convolve(model.stem[0], x)))
    for group in (model.group1, model.group2, model.group3):
        for index, unit in enumerate(group):
            y = norm(unit[1][0], convolve(unit[0], y))
            y = y if ratio == "2:1" and index == 0 else relu(y)
    check(model, x, y.mean((2, 3)) @ array(model.head.fc.weight).T + array(model.head.fc.bias))


@both_convs
@shapes
@pytest.mark.parametrize("drop", [(), (1,), (2,)])
def test_preactivation_basic_block(conv: str, inputs: int, outputs: int, stride: int, drop: tuple[int, ...]) -> None:
    """drop (1,) is x + W2·relu(BN2(W1·BN1(x)))."""
    make_conv = spatial_conv(conv)
    block = settled(preactivation_block(inputs, outputs, stride, bottleneck=False, drop=drop, make_conv=make_conv))
    x = image(inputs)
    first = norm(block.enter[0], x)
    first = first if 1 in drop else relu(first)
    second = norm(block.body[1][0], convolve(block.body[0], first))
    second = second if 2 in drop else relu(second)
    shortcut = x if block.shortcut is None else convolve(block.shortcut, first)
    check(block, x, shortcut + convolve(block.body[2], second))


@both_convs
@shapes
@pytest.mark.parametrize("drop", [(), (1,), (2,), (3,)])
def test_preactivation_bottleneck(conv: str, inputs: int, outputs: int, stride: int, drop: tuple[int, ...]) -> None:
    make_conv = spatial_conv(conv)
    block = settled(preactivation_block(inputs, outputs, stride, bottleneck=True, drop=drop, make_conv=make_conv))
    x = image(inputs)
    y = norms = norm(block.enter[0], x)
    y = norms = norms if 1 in drop else relu(norms)
    for number, (conv_at, norm_at) in enumerate(((0, 1), (2, 3)), 2):
        y = norm(block.body[norm_at][0], convolve(block.body[conv_at], y))
        y = y if number in drop else relu(y)
    shortcut = x if block.shortcut is None else convolve(block.shortcut, norms)
    check(block, x, shortcut + convolve(block.body[4], y))


@both_convs
@shapes
@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("kind", ["paired", "type1", "type2"])
@pytest.mark.parametrize("last", [False, True])
def test_merge_and_run(conv: str, inputs: int, outputs: int, stride: int, branch: int, kind: str, last: bool) -> None:
    make_conv = spatial_conv(conv)
    block = settled(MergeAndRun(inputs, outputs, stride, last=last, kind=kind, branch=branch, make_conv=make_conv))
    xs = [image(inputs, seed=seed) for seed in (1, 2)]
    shortcuts, residuals = [], []
    for index, x in enumerate(xs):
        shortcut, chain = block.shortcuts[index], block.branches[index]
        shortcuts.append(x if inputs == outputs else norm(shortcut[1][0], convolve(shortcut[0], x)))
        y = norm(chain[1][0], convolve(chain[0], x))
        y = y if kind == "type2" and branch == index else relu(y)
        residuals.append(norm(chain[3][0], convolve(chain[2], y)))
    assert block.branches[0][1][0].eps == 2e-5
    mean = (shortcuts[0] + shortcuts[1]) / 2
    expected = [relu(mean + sum(residuals))] * 2 if last else [mean + residual for residual in residuals]
    if not last:
        expected = [y if kind == "type1" and branch == i else relu(y) for i, y in enumerate(expected)]
    with torch.no_grad():
        actual = block(*(torch.from_numpy(x) for x in xs))
    for index in range(2):
        np.testing.assert_allclose(actual[index].numpy(), expected[index], rtol=1e-10, atol=1e-11)


def attended(layer: SplitAttention, x: Array) -> Array:
    """Split attention, one channel of one split of one group at a time."""
    radix, groups = layer.radix, layer.cardinality
    features = relu(norm(layer.bn0, convolve(layer.conv, x)))
    n, channels = features.shape[0], features.shape[1] // radix
    splits = [features[:, r * channels : (r + 1) * channels] for r in range(radix)]
    mean = sum(splits).mean((2, 3), keepdims=True)
    scores = convolve(layer.fc2, relu(norm(layer.bn1, convolve(layer.fc1, mean))))[:, :, 0, 0]
    each = channels // groups
    y = np.zeros_like(splits[0])
    for image_index, channel in np.ndindex(n, channels):
        group, within = divmod(channel, each)
        exponents = [np.exp(scores[image_index, (group * radix + r) * each + within]) for r in range(radix)]
        if radix == 1:
            score = scores[image_index, channel]
            y[image_index, channel] = splits[0][image_index, channel] / (1 + np.exp(-score))
            continue
        for r in range(radix):
            y[image_index, channel] += exponents[r] / sum(exponents) * splits[r][image_index, channel]
    return y


@both_convs
@pytest.mark.parametrize("radix", [1, 2, 3])
@pytest.mark.parametrize("cardinality", [1, 2])
def test_split_attention(conv: str, radix: int, cardinality: int) -> None:
    layer = settled(SplitAttention(12, cardinality, radix, spatial_conv(conv)))
    x = image(12)
    check(layer, x, attended(layer, x))


@both_convs
@shapes
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_resnest_block(conv: str, inputs: int, outputs: int, stride: int, size: tuple[int, int]) -> None:
    make_conv = spatial_conv(conv)
    block = settled(ResNeStBlock(inputs, outputs, stride, middle=8, cardinality=2, radix=2, make_conv=make_conv))
    x = image(inputs, size)
    y = relu(norm(block.bn1, convolve(block.conv1, x)))
    y = average(y, 3, stride, 1) if stride > 1 else y
    y = norm(block.bn3, convolve(block.conv3, attended(block.conv2, y)))
    shortcut = x
    if block.downsample is not None:
        shortcut = norm(block.downsample[2], convolve(block.downsample[1], average(x, stride, stride)))
    check(block, x, relu(y + shortcut))


@shapes
@pytest.mark.parametrize("kernel", ["c2sp", "c4sp", "3x3", "5x5"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_even_block(inputs: int, outputs: int, stride: int, kernel: str, size: tuple[int, int]) -> None:
    def relu6(v: Array) -> Array:
        return np.clip(v, 0, 6)

    make_spatial = spatial(kernel, "wu", "first", spatial_conv("plain"))
    block = settled(even_block(inputs, outputs, stride, middle=5, make_spatial=make_spatial))
    x = 4 * image(inputs, size)
    first = relu6(norm(block.enter[0], x))
    reduce, inner, *pool, wide, outer, expand = block.body
    assert len(pool) == stride - 1
    y = relu6(norm(inner[0], convolve(reduce, first)))
    y = average(y, 2, 2) if stride > 1 else y
    y = convolve(expand, relu6(norm(outer[0], convolve(wide, y))))
    shortcut = x
    if block.shortcut is not None:
        shortcut = average(first, 2, 2) if stride > 1 else first
        shortcut = convolve(block.shortcut[-1], shortcut) if inputs != outputs else shortcut
    check(block, x, y + shortcut)


@both_convs
@shapes
@pytest.mark.parametrize("first", [False, True])
def test_pvanets_crelu_block(conv: str, inputs: int, outputs: int, stride: int, first: bool) -> None:
    block = settled(crelu_block(inputs, 5, outputs, stride, first, spatial_conv(conv)))
    x = image(inputs)
    y = x if first else relu(norm(block.enter[0], x))
    reduce, inner, spatial_layer, outer, scale, expand = block.body
    assert isinstance(scale, ScaledCReLU)
    y = relu(norm(inner[0], convolve(reduce, y)))
    y = norm(outer, convolve(spatial_layer, y))
    y = convolve(expand, reference.scaled_crelu(y, array(scale.weight), array(scale.bias)))
    check(block, x, y + (x if block.shortcut is None else convolve(block.shortcut, x)))


def test_a_batch_norm_shift_is_uneven_at_the_border_of_the_next_convolution() -> None:
    """Why a BatchNorm without ReLU cannot become a bias of the convolution after it: the borders differ."""
    unit = settled(plain(3, (2, 2, 2), "2:1", width=0.25)).group1
    first, second = unit[0], unit[1]
    with torch.no_grad():
        shift = first[1][0](torch.zeros(1, 4, 5, 5, dtype=torch.float64))
        through = second[0](shift)
    assert through.std((2, 3)).min() > 0.01, "a constant shift comes out of zero padding uneven"
    assert through[:, :, 1:-1, 1:-1].std((2, 3)).max() < 1e-12
