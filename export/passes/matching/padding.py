"""Read constant zero padding as one list of numbers."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from rectexport.exporter.passes.matching.rewrite import Scene


def zero_pads(scene: Scene, pad: gs.Node) -> list[int] | None:
    """Begins of all axes, then ends; None unless the node pads with constant zeros.

    Reads the inputs of opset 11 (pads, value) and the one of opset 18 (axes).
    """
    if pad.attrs.get("mode", "constant") != "constant":
        return None
    shape = pad.inputs[0].shape
    given = scene.values.of(pad.inputs[1])
    fill = scene.values.of(pad.inputs[2]) if _present(pad, 2) else None
    if given is None or (_present(pad, 2) and (fill is None or fill.any())):
        return None
    pads = [int(value) for value in given.reshape(-1)]
    if not _present(pad, 3):
        return pads
    axes = scene.values.of(pad.inputs[3])
    if axes is None or shape is None:
        return None
    rank, count = len(shape), axes.size
    spread = [0] * (2 * rank)
    for index, axis in enumerate(int(value) % rank for value in axes.reshape(-1)):
        spread[axis], spread[rank + axis] = pads[index], pads[count + index]
    return spread


def _present(node: gs.Node, index: int) -> bool:
    return index < len(node.inputs) and bool(node.inputs[index].name)
