"""Forms of padding with a border of any kind: BoundaryPad, then usually Conv.

As written it is left to the pass boundary_pad: Pad in the modes that every engine takes, Slices and Concat for others.

pad      Pad for circular borders too, which only ONNX Runtime takes everywhere
strips   Slices and Concat in any case; for circular borders that is as written
chain    circular convolutions in a row: pad the first by all their halos, and the others not at all
border   the convolution of the whole, and of thin strips for what reaches over the border

Every form copies elements or computes them once more; none changes a sum's terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from rectexport.exporter.graph.dialect import CIRCULAR, DOMAIN, ZEROS
from rectexport.exporter.graph.surgeon import constant, dialect_nodes, is_standard, sole_consumer
from rectexport.exporter.passes.borders import PAD_MODES, POLAR, Border, Places, Writer, axis_places
from rectexport.exporter.passes.boundary_pad import PADDED, cannot_write, write
from rectexport.exporter.passes.lowering.machinery.convolution import detach, read, shape_of
from rectexport.exporter.passes.lowering.machinery.form import Form, Operator, Shape

NAME, CIRCULAR_NAME = "boundary", "circular"
#: The largest part of a chain's multiplications that a halo may add: a Pad costs more than that where maps are large.
LARGEST_HALO = 0.05
#: Operators that treat every element alike, or alike within a channel.
_POINTWISE = (
    *("BatchNormalization", "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Relu"),
    *("Selu", "Sigmoid", "Softplus", "Tanh", "Add", "Sub", "Mul", "Div", "PRelu"),
)


@dataclass(frozen=True)
class Layer:
    """One convolution of a chain: the BoundaryPad before it if there is one, and the operators behind it."""

    pad: gs.Node | None
    conv: gs.Node
    behind: list[gs.Node] = field(default_factory=list)

    @property
    def nodes(self) -> list[gs.Node]:
        return [*([] if self.pad is None else [self.pad]), self.conv, *self.behind]


@dataclass(frozen=True)
class BoundarySite:
    """A BoundaryPad node, the convolution that alone reads it, and the circular convolutions in a row from there."""

    node: gs.Node
    conv: gs.Node | None
    chain: list[Layer]

    def shape(self) -> Shape | None:
        conv = read(self.conv)
        return None if isinstance(conv, str) else shape_of(conv, self.node.inputs[0])

    def members(self, graph: gs.Graph) -> list[gs.Node]:
        if len(self.chain) > 1:
            return [node for layer in self.chain for node in layer.nodes]
        return [self.node] if self.conv is None else [self.node, self.conv]


def find(graph: gs.Graph) -> Iterator[BoundarySite]:
    """Every BoundaryPad node with another border than a circular one."""
    return _sites(graph, circular=False)


def find_circular(graph: gs.Graph) -> Iterator[BoundarySite]:
    """Every BoundaryPad node that is circular along each axis that it extends."""
    return _sites(graph, circular=True)


def _sites(graph: gs.Graph, circular: bool) -> Iterator[BoundarySite]:
    for node in dialect_nodes(graph, "BoundaryPad"):
        border = Border.of(node)
        if all(border.modes[axis] == CIRCULAR for axis in border.axes) != circular:
            continue
        reader = sole_consumer(graph, node.outputs[0])
        first = is_standard(reader, "Conv") and reader is not None and reader.inputs[0] is node.outputs[0]
        conv = reader if first else None
        yield BoundarySite(node, conv, _chain(graph, node))


def _is_pad(node: gs.Node | None) -> bool:
    return node is not None and (node.op, node.domain) == ("BoundaryPad", DOMAIN)


def _chain(graph: gs.Graph, first: gs.Node) -> list[Layer]:
    """The circular convolutions in a row from a BoundaryPad on, each the only reader of the one before."""
    layers: list[Layer] = []
    node: gs.Node | None = first
    while node is not None:
        pad = node if _is_pad(node) else None
        conv = node if pad is None else sole_consumer(graph, pad.outputs[0])
        if layers and conv is not None and pad is None and conv.inputs[0] is not _last(layers).outputs[0]:
            break
        if conv is None or not _keeps_circle(pad, conv, Border.of(first).axes):
            break
        behind: list[gs.Node] = []
        node = sole_consumer(graph, conv.outputs[0])
        while node is not None and _is_pointwise(node):
            behind.append(node)
            node = sole_consumer(graph, node.outputs[0])
        layers.append(Layer(pad, conv, behind))
        if not _is_pad(node) and not is_standard(node, "Conv"):
            break
    while layers and layers[-1].pad is None:
        layers.pop()  # what the last halo does not reach gains nothing
    if layers:
        layers[-1] = Layer(layers[-1].pad, layers[-1].conv)
    return _within(layers)


def _last(layers: Sequence[Layer]) -> gs.Node:
    return layers[-1].nodes[-1]


def _keeps_circle(pad: gs.Node | None, conv: gs.Node, axes: Sequence[int]) -> bool:
    """Whether the pair maps a plane that is periodic along `axes` to a periodic one of equal size along them."""
    if not is_standard(conv, "Conv") or conv.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    reach = _reach(conv)
    if reach is None or any(stride != 1 for stride in conv.attrs.get("strides", ())):
        return False
    if pad is not None and pad.outputs[0] is not conv.inputs[0]:
        return False
    count = len(reach)
    pads = conv.attrs.get("pads", [0] * 2 * count)
    border = Border((ZEROS,) * count, (0,) * count, (0,) * count) if pad is None else Border.of(pad)
    if len(border.modes) != count or not set(border.axes) <= set(axes):
        return False
    return all(
        not pads[axis] and not pads[count + axis] and border.begins[axis] + border.ends[axis] == reach[axis]
        for axis in axes
    ) and all(border.modes[axis] == CIRCULAR for axis in border.axes)


def _reach(conv: gs.Node) -> tuple[int, ...] | None:
    """From the first tap to the last, along each axis."""
    kernel = conv.attrs.get("kernel_shape")
    if kernel is None:
        weight = conv.inputs[1].shape
        kernel = None if weight is None else weight[2:]
    if kernel is None:
        return None
    dilations = conv.attrs.get("dilations", [1] * len(kernel))
    return tuple((int(size) - 1) * int(step) for size, step in zip(kernel, dilations, strict=True))


def _is_pointwise(node: gs.Node) -> bool:
    """Whether the node computes each element from the same one of its first input, and from constants of a channel."""
    if not is_standard(node, *_POINTWISE) or len(node.outputs) != 1:
        return False
    if sum(bool(entry.name) and constant(entry) is None for entry in node.inputs) != 1:
        return False
    moving = node.inputs[_moving_input(node)]
    rank = None if moving.shape is None else len(moving.shape)
    if node.op == "BatchNormalization":
        return moving is node.inputs[0]
    for entry in node.inputs:
        value = constant(entry) if entry.name else None
        if value is not None and value.size > 1:
            shape = (1,) * ((rank or value.ndim) - value.ndim) + value.shape
            if rank is None or len(shape) != rank or any(size != 1 for size in shape[2:]):
                return False
    return True


def _moving_input(node: gs.Node) -> int:
    """The place of the input that is no constant."""
    return next(at for at, entry in enumerate(node.inputs) if entry.name and constant(entry) is None)


def _halo(layers: Sequence[Layer]) -> Border:
    """The sum of the borders of these layers."""
    pads = [Border.of(layer.pad) for layer in layers if layer.pad is not None]
    begins, ends = (
        tuple(sum(values) for values in zip(*(getattr(pad, name) for pad in pads), strict=True))
        for name in ("begins", "ends")
    )
    return Border(tuple(CIRCULAR if b or e else ZEROS for b, e in zip(begins, ends, strict=True)), begins, ends)


def _extra(layers: Sequence[Layer]) -> float | None:
    """Multiplications that the halo adds, as a part of the chain's; None where a size is open or too small."""
    plain = wide = 0.0
    for index, layer in enumerate(layers):
        size = layer.conv.outputs[0].shape
        weight = layer.conv.inputs[1].shape
        if size is None or weight is None or not all(isinstance(entry, int) for entry in (*size[2:], *weight)):
            return None
        work = math.prod(weight)
        rest = layers[index + 1 :]
        halo = _halo(rest) if any(entry.pad for entry in rest) else None
        grown = size[2:] if halo is None else (halo.extended(size) or size)[2:]
        plain += work * math.prod(size[2:])
        wide += work * math.prod(grown)
    shape = layers[0].pad.inputs[0].shape if layers[0].pad is not None else None
    whole = _halo(layers)
    if shape is None or any(max(whole.begins[axis], whole.ends[axis]) > shape[2 + axis] for axis in whole.axes):
        return None
    return wide / plain - 1


def _within(layers: list[Layer]) -> list[Layer]:
    """The longest beginning of the chain whose halo costs little."""
    while len(layers) > 1:
        extra = _extra(layers)
        if extra is not None and extra <= LARGEST_HALO:
            return layers
        layers = layers[:-1]
        while layers and layers[-1].pad is None:
            layers = layers[:-1]
        if layers:
            layers = [*layers[:-1], Layer(layers[-1].pad, layers[-1].conv)]
    return layers


def _refuse_pad(graph: gs.Graph, site: BoundarySite) -> str | None:
    border = Border.of(site.node)
    if not any(border.modes[axis] == CIRCULAR for axis in border.axes):
        return "it has no circular border"
    if graph.opset < PAD_MODES[CIRCULAR][1]:
        return f"the model has opset {graph.opset}, and Pad has mode wrap from {PAD_MODES[CIRCULAR][1]} on"
    return cannot_write(site.node)


def _apply_pad(graph: gs.Graph, site: BoundarySite) -> None:
    """Leave circular borders to Pad.

    Given   y = BoundaryPad(x)
    Result  y = Pad(x; wrap), and what boundary_pad writes for the other axes

    Not when no axis is circular, or the opset is below 19.
    """
    write(graph, site.node, (*PADDED, CIRCULAR))


def _refuse_strips(graph: gs.Graph, site: BoundarySite) -> str | None:
    if all(Border.of(site.node).modes[axis] == ZEROS for axis in Border.of(site.node).axes):
        return "it has no border but zeros"
    return cannot_write(site.node)


def _apply_strips(graph: gs.Graph, site: BoundarySite) -> None:
    """Join slices of the border with the plane.

    Given   y = BoundaryPad(x)
    Result  y = Concat(strip, x, strip), one axis after the other; a strip is a Slice of x at its border

    Not when rows cross a pole and the width is open, or nothing but zeros is added.
    """
    write(graph, site.node, (ZEROS,))


def _refuse_chain(graph: gs.Graph, site: BoundarySite) -> str | None:
    if len(site.chain) < 2:
        return f"no second circular convolution follows whose halo costs at most {LARGEST_HALO:.0%}"
    return None


def _apply_chain(graph: gs.Graph, site: BoundarySite) -> None:
    """Pad once by the sum of the halos.

    Given   y_i = f_i(conv_i(circular(y_{i−1}; b_i, e_i))), stride 1, b_i + e_i = (k_i − 1)·d_i, f_i element by element
    Result  y_n = f_n(conv_n(… f_1(conv_1(circular(y_0; Σb_i, Σe_i)))))

    A convolution of a periodic plane is periodic, and so is f of one: what conv_1 computes beyond the border is what
    circular(y_1) would copy there. It costs the convolutions of the halo, and saves every padding but the first.

    Not when a stride is not 1, a size changes, another border or another reader lies between, a size is open, the sum
    of the halos exceeds the axis, or the halo adds more than LARGEST_HALO to the multiplications.
    """
    layers = site.chain
    first, x = site.node, site.node.inputs[0]
    y = layers[-1].conv.outputs[0]
    halo = _halo(layers)
    current = gs.Variable(f"{y.name}.circle", x.dtype, halo.extended(x.shape))
    detach(graph, first)
    graph.nodes.append(halo.node(f"{y.name}.circle", x, current))
    for index, layer in enumerate(layers):
        if layer.pad is not None and layer.pad is not first:
            detach(graph, layer.pad)
        rest = layers[index + 1 :]
        for node in (layer.conv, *layer.behind):
            old = node.outputs[0]
            node.inputs[0 if node is layer.conv else _moving_input(node)] = current
            if rest:
                shape = _halo(rest).extended(old.shape) if any(entry.pad for entry in rest) else old.shape
                current = gs.Variable(f"{old.name}.circle", old.dtype, shape)
                node.outputs[0] = current


def _refuse_border(graph: gs.Graph, site: BoundarySite) -> str | None:
    if site.conv is None:
        return "no convolution reads it, or something else reads it too"
    border, shape, reach = Border.of(site.node), site.node.inputs[0].shape, _reach(site.conv)
    if site.conv.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "the convolution's pads depend on its input's size (auto_pad)"
    if any(border.modes[axis] in POLAR for axis in border.axes):
        return "rows cross a pole"
    if any(border.modes[axis] == ZEROS for axis in border.axes):
        return "zeros stand beyond an axis, which no Gather reads"
    if shape is None or reach is None or not all(isinstance(shape[2 + axis], int) for axis in border.axes):
        return "H, W dynamic"
    if any(stride != 1 for stride in site.conv.attrs.get("strides", ())):
        return "the convolution has a stride"
    pads = site.conv.attrs.get("pads", [0] * 2 * len(reach))
    if any(pads[axis] or pads[len(reach) + axis] for axis in border.axes):
        return "the convolution pads the same axis by zeros"
    for axis in border.axes:
        if max(border.begins[axis], border.ends[axis]) > reach[axis] or shape[2 + axis] <= reach[axis]:
            return "some windows lie wholly beyond the border, or over both"
    return None


def _apply_border(graph: gs.Graph, site: BoundarySite) -> None:
    """Convolve the whole without padding, and thin strips for the border.

    Given   y = conv(BoundaryPad(x)), stride 1, b before and e behind, from first to last tap r
    Result  y = Concat(conv(x[places 0 … b + r)), conv(x), conv(x[places n + b − r … n + b + e))) along each axis

    where x[places] are the elements of x that stand there, taken by Gather. The strips of one axis are extended along
    the axes after it; the whole is not.

    Not when sizes are open, a stride is not 1, rows cross a pole, zeros stand beyond an axis, or a window lies wholly
    beyond the border.
    """
    assert site.conv is not None
    border, conv, x, y = Border.of(site.node), site.conv, site.node.inputs[0], site.conv.outputs[0]
    inputs, attrs = list(conv.inputs[1:]), dict(conv.attrs)
    reach = _reach(conv)
    assert reach is not None
    detach(graph, site.node, conv)
    pieces = _Pieces(graph, y, inputs, attrs, border, reach)
    pieces.join(x, border.axes, y)


class _Pieces:
    """Writes one convolution as several of parts of its input."""

    def __init__(
        self,
        graph: gs.Graph,
        y: gs.Tensor,
        inputs: list[gs.Tensor],
        attrs: dict[str, object],
        border: Border,
        reach: tuple[int, ...],
    ) -> None:
        self._graph, self._y, self._inputs, self._attrs = graph, y, inputs, attrs
        self._border, self._reach = border, reach
        self._count = 0

    def join(self, x: gs.Tensor, axes: Sequence[int], y: gs.Tensor) -> None:
        """y from x, whose border along `axes` is still to come."""
        if not axes:
            self._convolve(x, y)
            return
        axis, rest = axes[0], axes[1:]
        begin, end, reach = self._border.begins[axis], self._border.ends[axis], self._reach[axis]
        at = axis_places(x.shape[2 + axis], begin, end, self._border.modes[axis])
        middle = self._tensor(y)
        parts = [middle]
        if begin:
            parts.insert(0, self._strip(x, axis, at[: begin + reach], rest, y))
        if end:
            parts.append(self._strip(x, axis, at[-(end + reach) :], rest, y))
        self.join(x, rest, middle)
        self._graph.nodes.append(gs.Node("Concat", self._name(), {"axis": axis + 2}, parts, [y]))

    def _strip(self, x: gs.Tensor, axis: int, at: Places, rest: Sequence[int], y: gs.Tensor) -> gs.Tensor:
        name = self._name()
        strip = gs.Variable(f"{name}.strip", x.dtype, [*x.shape[: 2 + axis], len(at), *x.shape[3 + axis :]])
        places = gs.Constant(f"{name}.places", at.astype(np.int64))
        self._graph.nodes.append(gs.Node("Gather", name, {"axis": axis + 2}, [x, places], [strip]))
        part = self._border.only(rest)
        if part.axes:
            padded = gs.Variable(f"{name}.extended", x.dtype, part.extended(strip.shape))
            Writer(self._graph, strip, padded, part).write(())
            strip = padded
        result = self._tensor(y)
        self._convolve(strip, result)
        return result

    def _convolve(self, x: gs.Tensor, y: gs.Tensor) -> None:
        self._graph.nodes.append(gs.Node("Conv", self._name(), dict(self._attrs), [x, *self._inputs], [y]))

    def _tensor(self, y: gs.Tensor) -> gs.Variable:
        return gs.Variable(f"{self._name()}.part", y.dtype, None)

    def _name(self) -> str:
        self._count += 1
        return f"{self._y.name}.piece{self._count}"


_PAD = Form("pad", _refuse_pad, _apply_pad, targets=("onnxruntime",), refused_by=("openvino",))
_BORDER = Form("border", _refuse_border, _apply_border)
OPERATOR = Operator(NAME, find, (_PAD, Form("strips", _refuse_strips, _apply_strips), _BORDER))
CIRCULAR_OPERATOR = Operator(CIRCULAR_NAME, find_circular, (_PAD, Form("chain", _refuse_chain, _apply_chain), _BORDER))
