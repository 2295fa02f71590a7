"""The memory that activations need by the order in which an engine runs its layers.

Given    layers in order, the nodes that each does, and the bytes of each layer's outputs
Result   the largest sum of outputs that are needed at the same time: from the layer that makes them to the last layer
         that reads them, or to the end where the caller gets them
Not when the engine does not say how large a layer's outputs are

No engine of the CPU tells its own plan. This is what a plan without any waste would take: buffers that a kernel uses
inside, copies in another layout and the model's inputs come on top, and a layer that writes over its input saves some.
"""

from __future__ import annotations

from collections.abc import Sequence

from rectexport.runtime.profiling.origins import Graph
from rectexport.runtime.profiling.sampled import EngineLayer


def planned_activations(graph: Graph, covered: Sequence[Sequence[int]], layers: Sequence[EngineLayer]) -> int | None:
    """Bytes; None where sizes are unknown or no layer is tied to a node. covered: of covering.cover."""
    doing = [place for place, layer in enumerate(layers) if covered[place] and not layer.reorder]
    if not doing or any(layers[place].stored is None for place in doing):
        return None
    owner = {node: place for place in reversed(doing) for node in covered[place]}
    last = {place: place for place in doing}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            maker = owner.get(graph.makers.get(name, -1))
            if maker is not None:
                last[maker] = max(last[maker], owner.get(index, maker))
    read = {name for node in graph.nodes for name in node.inputs}
    for index, node in enumerate(graph.nodes):
        if index in owner and not read.issuperset(node.outputs):
            last[owner[index]] = len(layers)
    change = [0] * (len(layers) + 2)
    for place in doing:
        size = layers[place].stored or 0
        change[place] += size
        change[last[place] + 1] -= size
    most = live = 0
    for step in change:
        live += step
        most = max(most, live)
    return most
