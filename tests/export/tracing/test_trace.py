"""From torch to ONNX: one dialect node a layer, dimensions that stay dynamic and have names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, checker
from torch import Tensor, nn
from torch.export import Dim

from rectexport.exporter.base.options import DEFAULT_OPSET, MAX_OPSET, MIN_OPSET
from rectexport.exporter.frontend.source import Source
from rectexport.exporter.graph.dialect import DOMAIN, attributes, default_opset
from rectexport.models import AVR, CReLU, RectifiedConv2d, ScaledCReLU, SymmetricConv2d, SymmetricPad2d
from rectexport.runtime.errors import BadInput
from tests.export.helper import Array, build, operators, outputs, relative_l2
from tests.export.nets import Pair, Small, image, seeded, source, traced


def dims(model: ModelProto, which: str = "input") -> list[list[int | str]]:
    values = getattr(model.graph, which)
    return [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values]


def dialect_nodes(model: ModelProto) -> list[tuple[str, dict[str, Any]]]:
    return [(node.op_type, attributes(node)) for node in model.graph.node if node.domain == DOMAIN]


def agrees(model: ModelProto, torch_model: nn.Module, *feeds: Tensor) -> None:
    """The un-lowered model runs in ONNX Runtime and computes what torch computes."""
    checker.check_model(model)
    names = [value.name for value in model.graph.input]
    results = outputs(model, dict(zip(names, (feed.numpy() for feed in feeds), strict=True)))
    with torch.no_grad():
        expected = torch_model(*feeds)
    for wanted, got in zip(expected if isinstance(expected, tuple) else (expected,), results, strict=True):
        assert relative_l2(wanted.numpy(), got) <= 1e-5


def window(kernel: tuple[int, int], **changed: Any) -> dict[str, Any]:
    usual = {"kernel_shape": kernel, "strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "empty_bias": 1}
    return {**usual, "numerator": kernel[0] * kernel[1], **changed}


LAYERS: list[tuple[Callable[[], nn.Module], list[tuple[str, dict[str, Any]]]]] = [
    (lambda: RectifiedConv2d(4, 3, 3, padding=1), [("Rectify", window((3, 3)))]),
    (
        lambda: RectifiedConv2d(4, 2, (3, 2), (2, 1), (1, 0, 2, 1), (1, 2), groups=2),
        [("Rectify", window((3, 2), strides=(2, 1), pads=(2, 1, 1, 0), dilations=(1, 2)))],
    ),
    (
        lambda: RectifiedConv2d(4, 3, 3, padding=1, mode="average", bias_mode="inside", empty="zero"),
        [("Rectify", window((3, 3), numerator=1, empty_bias=0))],
    ),
    (lambda: RectifiedConv2d(4, 3, 4, padding="same"), [("Rectify", window((4, 4), pads=(1, 1, 2, 2)))]),
    (lambda: RectifiedConv2d(4, 3, 3), []),  # without padding r is 1
    (
        lambda: RectifiedConv2d(4, 3, 2, mode="average"),
        [("Rectify", window((2, 2), pads=(0, 0, 0, 0), numerator=1))],
    ),
    (
        lambda: SymmetricPad2d(2, "elnas"),
        [("SymmetricPad", {"splits": (1, 1, 1, 1), "pads": (1, 1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1)})],
    ),
    (
        lambda: SymmetricConv2d(4, 3, 4, stride=2),
        [("SymmetricPad", {"splits": (1, 1, 1, 1), "pads": (1, 1, 2, 2, 2, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 2)})],
    ),
    (lambda: CReLU(), [("CRelu", {"axis": 1})]),
    (lambda: CReLU(dim=-1), [("CRelu", {"axis": -1})]),
    (lambda: CReLU(nn.LeakyReLU(0.1), dim=2), [("NegConcat", {"axis": 2})]),
    (lambda: ScaledCReLU(4), [("NegConcat", {"axis": 1})]),
    (lambda: AVR(), []),
]


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make() for make, _ in LAYERS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


@pytest.mark.parametrize("dynamic", [False, True])
def test_each_layer_is_exported_as_one_node(dynamic: bool) -> None:
    net = seeded(Layers())
    shapes: dict[str, Any] = {"min": ["2x4x5x5"], "max": ["8x4x30x30"]} if dynamic else {}
    model = traced(source(net, image(2, 4, 9, 7)), **shapes).model
    assert dialect_nodes(model) == [node for _, expected in LAYERS for node in expected]
    assert len(model.graph.output) == len(LAYERS)
    agrees(model, net, image(2, 4, 9, 7))
    if dynamic:
        agrees(model, net, image(3, 4, 6, 11))
        assert dims(model) == [["batch", 4, "height", "width"]]
        names = {size for shape in dims(model, "output") for size in shape if isinstance(size, str)}
        assert {"batch", "height", "width"} <= names
        assert not [name for name in names if name.startswith("s") and name[1:].isdigit()]


@pytest.mark.parametrize("opset", range(MIN_OPSET, MAX_OPSET + 1))
def test_opset(opset: int) -> None:
    net = seeded(nn.Sequential(RectifiedConv2d(2, 4, 3, padding=1), CReLU(), SymmetricConv2d(8, 2)))
    model = traced(source(net, image(1, 2, 6, 5)), opset).model
    assert default_opset(model) == opset
    assert {entry.version for body in model.functions for entry in body.opset_import if not entry.domain} == {opset}
    agrees(model, net, image(1, 2, 6, 5, seed=1))


def test_opset_limits() -> None:
    assert MIN_OPSET <= DEFAULT_OPSET <= MAX_OPSET
    assert (MIN_OPSET, MAX_OPSET) == (18, 23)


def test_batchnorm_stays_apart_from_a_rectified_convolution() -> None:
    """Folding it is a pass's work: the shift must not be rectified."""
    net = seeded(nn.Sequential(RectifiedConv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)))
    model = traced(source(net, image(1, 2, 6, 5))).model
    assert operators(model) == ["Conv", "Rectify", "BatchNormalization"]


class Vectors(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y.sum()


def test_dimensions_of_inputs_that_are_no_images() -> None:
    model = traced(source(Vectors(), image(2, 5), image(2, 3, 4)), min=["x:1x3,y:1x3x2"], max=["x:8x9,y:8x3x7"]).model
    assert dims(model) == [["batch", "x_1"], ["batch", 3, "y_2"]]


def test_inputs_share_a_size_only_where_they_share_the_range() -> None:
    pair = source(seeded(Pair()), image(2, 1, 6, 7), image(2, 1, 6, 9))
    model = traced(pair, min=["x:1x1x4x4,y:1x1x4x4"], max=["x:4x1x9x9,y:4x1x9x9"]).model
    assert dims(model) == [["batch", 1, "height", "width"], ["batch", 1, "height", "y_width"]]
    pair = source(seeded(Pair()), image(2, 1, 6, 7), image(2, 1, 6, 7))
    model = traced(pair, min=["x:1x1x4x4,y:1x1x4x4"], max=["x:4x1x9x9,y:4x1x9x8"]).model
    assert dims(model) == [["batch", 1, "height", "width"], ["batch", 1, "height", "y_width"]]


def test_names_for_the_symbols_of_the_user() -> None:
    """Two symbols never get one name: r would be shared between two sizes."""
    free = [{2: Dim("a", min=4, max=9), 3: Dim("b", min=4, max=9)}, {2: Dim("c", min=4, max=9)}]
    result = traced(source(seeded(Pair()), image(2, 1, 6, 7), image(2, 1, 6, 7)), dynamic_shapes=tuple(free))
    assert dims(result.model) == [[2, 1, "height", "width"], [2, 1, "y_height", 7]]
    assert [entry.range.min for entry in result.inputs] == [(2, 1, 4, 4), (2, 1, 4, 7)]
    assert [entry.range.max for entry in result.inputs] == [(2, 1, 9, 9), (2, 1, 9, 7)]
    side = Dim("side", min=4, max=9)
    square = source(seeded(nn.Sequential(RectifiedConv2d(1, 2, 3, padding=1))), image(2, 1, 6, 6))
    assert dims(traced(square, dynamic_shapes=({2: side, 3: side},)).model) == [[2, 1, "height", "height"]]


@pytest.mark.parametrize("kind", [Dim.AUTO, Dim.DYNAMIC])
def test_dimensions_without_bounds(kind: Any) -> None:
    net = source(seeded(nn.Sequential(RectifiedConv2d(1, 2, 3, padding=1))), image(2, 1, 6, 7))
    result = traced(net, dynamic_shapes=({0: kind, 3: kind},))
    assert dims(result.model) == [["batch", 1, 6, "width"]]
    assert result.inputs[0].range.max == (2**31 - 1, 1, 6, 2**31 - 1)
    assert result.inputs[0].range.opt == (2, 1, 6, 7)


def test_a_batch_of_one_stays_dynamic() -> None:
    """torch takes a size of 1 in the example for a constant."""
    net = source(seeded(Small()), image(1, 2, 8, 8))
    model = traced(net, min=["1x2x8x8"], max=["4x2x8x8"]).model
    assert dims(model) == [["batch", 2, 8, 8]]
    agrees(model, net.model, image(3, 2, 8, 8))


class Returns(nn.Module):
    """Gives out whatever `pick` makes of a convolution and its input."""

    def __init__(self, pick: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.pick = RectifiedConv2d(1, 2, 3, padding=1), pick

    def forward(self, x: Tensor) -> Any:
        return self.pick(self.conv(x), x)


@pytest.mark.parametrize(
    ("pick", "names"),
    [
        (lambda y, x: y, ["output"]),
        (lambda y, x: (y, x), ["output_0", "output_1"]),
        (lambda y, x: {"a": y, "b": [y.mean(), x]}, ["a", "b.0", "b.1"]),
        (lambda y, x: {"x": x, "add": y * 2, "mul": y + 1}, ["x_output", "add", "mul"]),
        (lambda y, x: (y, y), ["output_0", "output_1"]),
        (lambda y, x: (y, None, x + 1), ["output_0", "output_1"]),
        (lambda y, x: (y, None), ["output"]),
    ],
)
def test_output_names(pick: Callable[[Tensor, Tensor], Any], names: list[str]) -> None:
    model = traced(source(seeded(Returns(pick)), image(1, 1, 4, 4))).model
    assert [value.name for value in model.graph.output] == names
    checker.check_model(model)


class Named(nn.Module):
    def forward(self, output: Tensor) -> Tensor:
        return output * 2


def test_an_input_called_output() -> None:
    model = traced(source(Named(), image(1, 3))).model
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["output", "result"]


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (lambda y, x: (y, object()), "Returns: forward returns a object; return tensors in dicts, tuples"),
        (lambda y, x: (y.shape[2], 1.5), "Returns: forward returns no tensor"),
        (lambda y, x: (y, float("inf")), "Returns: forward returns inf beside its tensors"),
        (lambda y, x: None, "Returns: forward returns no tensor"),
    ],
)
def test_outputs_that_are_no_tensors(pick: Callable[[Tensor, Tensor], Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        traced(source(Returns(pick), image(1, 1, 4, 4)))


class Fixes(nn.Module):
    """Works for one height only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], 1, 8, x.shape[3]) * 2


def test_a_dimension_that_the_model_fixes_is_named() -> None:
    fixed = source(Fixes(), image(2, 1, 8, 8))
    with pytest.raises(BadInput, match=r"input x, axis 2 \(height\): asked for 4\.\.16, but the model") as caught:
        traced(fixed, min=["x:1x1x4x8"], max=["x:4x1x16x8"])
    assert "narrow the range, or fix the axis to one size" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_minimum_at_which_an_inner_plane_has_one_pixel() -> None:
    """torch gives a size of 1 a program of its own; the graph is right for it all the same."""
    net = source(seeded(Small()), image(2, 2, 8, 8))
    model = traced(net, min=["x:1x2x1x1"], max=["x:4x2x16x16"]).model
    assert dims(model) == [["batch", 2, "height", "width"]]
    for size in ((1, 1), (1, 16), (16, 16), (5, 2)):
        agrees(model, net.model, image(3, 2, *size))


def test_a_model_that_torch_refuses() -> None:
    with pytest.raises(BadInput, match=r"Small: torch.export could not trace the model with x 1x5x8x8: RuntimeError"):
        traced(source(Small(), image(1, 5, 8, 8)))


class Text(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_an_input_type_that_torch_lacks() -> None:
    with pytest.raises(BadInput, match="could not trace the model with x 2: TypeError"):
        traced(Source("module", Text(), "Text", example_inputs=(np.array(["a", "b"]),)))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.yes, self.no = RectifiedConv2d(1, 2, 3, padding=1), RectifiedConv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: self.yes(x), lambda x: self.no(x) * 2, (x,))


@pytest.mark.parametrize("make", [Small, Branches])
def test_no_trace_of_this_machine_is_left(make: Callable[[], nn.Module]) -> None:
    channels = 2 if make is Small else 1
    model = traced(source(seeded(make()), image(1, channels, 8, 8))).model
    data = model.SerializeToString()
    for text in (__file__, os.getcwd(), str(Path(torch.__file__).parent), "site-packages", "stack_trace", "File "):
        assert text.encode() not in data
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_layers_in_branches() -> None:
    net = seeded(Branches())
    model = traced(source(net, image(1, 1, 5, 6))).model
    assert [body.name for body in model.functions] == ["Rectify"]
    agrees(model, net, image(1, 1, 5, 6).abs())
    agrees(model, net, -image(1, 1, 5, 6).abs())


def exported_program(dynamic: bool) -> Any:
    shapes = ({0: Dim("n", max=6), 3: Dim("w", min=3, max=40)},) if dynamic else None
    return torch.export.export(seeded(Small()), (image(2, 2, 8, 9),), dynamic_shapes=shapes)


def program_source(program: Any, example: Array | None) -> Source:
    return Source("program", program, "program", None, ["x"], None if example is None else (example,))


def test_ranges_of_a_program() -> None:
    program = exported_program(dynamic=True)
    result = traced(program_source(program, image(2, 2, 8, 9).numpy()))
    assert dims(result.model) == [["batch", 2, 8, "width"]]
    bounds = result.inputs[0].range
    assert (bounds.min, bounds.opt, bounds.max) == ((1, 2, 8, 3), (2, 2, 8, 9), (6, 2, 8, 40))
    agrees(result.model, seeded(Small()), image(4, 2, 8, 5))


def test_flags_narrow_the_ranges_of_a_program() -> None:
    program = exported_program(dynamic=True)
    result = traced(program_source(program, image(2, 2, 8, 9).numpy()), min=["x:2x2x8x5"], max=["x:2x2x8x16"])
    assert result.inputs[0].range.max == (6, 2, 8, 16)
    assert result.inputs[0].range.min == (1, 2, 8, 5)


def test_a_program_does_not_grow_dynamic() -> None:
    program = exported_program(dynamic=False)
    with pytest.raises(BadInput, match=r"input x, axis 0: asked for 1\.\.4, but the model fixes it to 2"):
        traced(program_source(program, image(2, 2, 8, 9).numpy()), min=["x:1x2x8x9"], max=["x:4x2x8x9"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 2, 7, 9), "axis 2: the model was exported for 8, got 7"), ((7, 2, 8, 9), "axis 0: .* for 1..6, got 7")],
)
def test_an_example_that_does_not_fit_the_program(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(BadInput, match=f"input x, {message}"):
        traced(program_source(exported_program(dynamic=True), image(*shape).numpy()))


IGNORED = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


def script(opset: int = 18, **shapes: Any) -> tuple[nn.Module, ModelProto]:
    net = seeded(Small())
    module = torch.jit.trace(net, image(2, 2, 8, 9))
    loaded = Source("torchscript", module, "TorchScript", None, ["x"], (image(2, 2, 8, 9).numpy(),))
    return net, traced(loaded, opset, **shapes).model


@IGNORED
def test_torchscript() -> None:
    net, model = script(min=["x:1x2x5x5"], max=["x:4x2x20x20"])
    assert dims(model) == [["batch", 2, "height", "width"]]
    assert default_opset(model) == 18
    agrees(model, net, image(3, 2, 6, 11))
    assert not any(node.doc_string for node in model.graph.node)
    _, static = script(23)
    assert dims(static) == [[2, 2, 8, 9]]
    assert default_opset(static) == 20  # the last that this exporter of torch's writes


class Lists(nn.Module):
    def forward(self, x: list[Tensor]) -> Tensor:
        return x[0]


def test_torchscript_that_takes_no_tensor() -> None:
    module: Any = torch.jit.script(Lists())
    loaded = Source("torchscript", module, "TorchScript", Path("net.pt"), ["x"], (image(2, 3).numpy(),))
    with pytest.raises(BadInput, match=r"net\.pt: torch\.onnx could not convert the TorchScript"):
        traced(loaded)


def onnx_source(model: ModelProto, *shape: int) -> Source:
    return Source("onnx", model, "ONNX file", Path("net.onnx"), ["x"], (image(*shape).numpy(),))


def test_onnx_is_taken_as_it_is() -> None:
    model = build("(float[N,2] x) => (float[N,4] y)", "y = rectexport.CRelu<axis=1>(x)", 21)
    del model.functions[:]
    result = traced(onnx_source(model, 3, 2), 18, min=["x:1x2"], max=["x:9x2"])
    assert default_opset(result.model) == 21
    assert [body.name for body in result.model.functions] == ["CRelu"]
    assert result.inputs[0].range.max == (9, 2)
    assert result.program is None


def test_onnx_of_fixed_size() -> None:
    model = build("(float[3,2] x) => (float[3,2] y)", "y = Relu(x)")
    with pytest.raises(BadInput, match=r"net\.onnx: input x, axis 0: asked for 1\.\.9, but the model fixes it to 3"):
        traced(onnx_source(model, 3, 2), min=["x:1x2"], max=["x:9x2"])


class Moody(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if self.training else x * 3


def test_the_model_is_traced_in_eval_mode() -> None:
    model = traced(source(Moody().train(), image(2, 3))).model
    np.testing.assert_array_equal(outputs(model, {"x": image(2, 3).numpy()})[0], 3 * image(2, 3).numpy())


def test_exporting_does_not_change_logging() -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with pytest.raises(BadInput):
        traced(source(Small(), image(1, 5, 8, 8)))
    assert logger.level == before


def test_initializers_are_the_weights() -> None:
    net = seeded(Small())
    model = traced(source(net, image(1, 2, 8, 8))).model
    stored = {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
    np.testing.assert_array_equal(stored["even.weight"], net.even.weight.detach().numpy())


def test_torchscript_that_returns_a_dict_is_refused_without_printing_its_graph(capfd: pytest.CaptureFixture) -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"mask": x.sigmoid(), "features": x}

    module = torch.jit.trace(Named().eval(), image(2, 3), strict=False)
    loaded = Source("torchscript", module, "TorchScript", Path("net.pt"), ["x"], (image(2, 3).numpy(),))
    with pytest.raises(BadInput, match=r"net\.pt: .*; return a tuple of tensors instead of a dict$"):
        traced(loaded)
    assert capfd.readouterr() == ("", "")
    loaded.model = torch.jit.trace(seeded(Small()), image(2, 2, 8, 8))
    loaded.example_inputs = (image(2, 2, 8, 8).numpy(),)
    assert traced(loaded).model.graph.node  # the exporter works as before


def test_circular_padding_gets_the_opset_that_has_it() -> None:
    net = seeded(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"))
    model = traced(source(net, image(1, 2, 6, 7))).model
    assert any(node.op_type == "Pad" for node in model.graph.node) and model.opset_import[0].version == 19
    agrees(model, net, image(1, 2, 6, 7))
    plain = traced(source(seeded(nn.Conv2d(2, 3, 3, padding=1)), image(1, 2, 6, 7))).model
    assert plain.opset_import[0].version == 18
