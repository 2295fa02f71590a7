"""Find rectification that a simplifier has folded along the wrong axis, given only the simplified file.

A factor that varies along the width only, (1, 1, 1, W), multiplies pixels. Where W equals the number of output
channels, a simplifier may take it for a scale per channel (OnnxSlim 0.1.98 does) and multiply the weights of
channel c by the factor of column c. The same happens to rows with H. The multiply disappears, so the graph's
structure does not show the fault. Two traces remain:

- the other half: a Mul by the row factor alone, whose column factor is missing;
- the weights: the norms of the channels follow the factor of a plane of that size.

The second is a test between two hypotheses about the logarithms of the channels' norms: they have a common mean, or
they have one after the factor is divided out; both assume a normal distribution. The result is log L1 - log L0. Of
layers without the fault, at most one in a thousand exceeds MARGIN, whatever the spread of its norms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rectexport.exporter.graph.surgeon import is_rectify, is_standard, label, sole_consumer, static_size
from rectexport.exporter.passes.matching.rewrite import Scene
from rectexport.exporter.passes.matching.window import Window, read_plane_window

#: Log-likelihood ratio from which a layer is suspicious.
MARGIN = 5.0
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Suspicion:
    """A convolution whose factor may have been folded into its channels, and the evidence."""

    node: str
    evidence: tuple[str, ...]


def find_folded_factors(scene: Scene) -> list[Suspicion]:
    """Every suspicious convolution of a graph in which intact rectification has been raised."""
    found = []
    for node in scene.graph.nodes:
        if is_standard(node, "Conv"):
            evidence = _examine(scene, node)
            if evidence:
                found.append(Suspicion(label(node), tuple(evidence)))
    return found


def log_likelihood_ratio(norms: Vector, factor: Vector) -> float:
    """How much better norms [C] fit a common scale times `factor` [C] than a common scale alone."""
    plain = np.log(norms)
    divided = plain - np.log(factor)
    return 0.5 * len(norms) * float(np.log(np.var(plain) / max(float(np.var(divided)), 1e-12)))


def _examine(scene: Scene, conv: gs.Node) -> list[str]:
    window, size = read_plane_window(scene.values, conv), static_size(conv.inputs[0])
    weight = scene.values.of(conv.inputs[1])
    if window is None or size is None or weight is None or not any(window.pads):
        return []
    consumer = sole_consumer(scene.graph, conv.outputs[0])
    if is_rectify(consumer):
        return []
    rows, columns = window.output_size(size)
    out, channels = (rows, columns), weight.shape[0]
    factors = {name: values for name, values in _factors(window, size).items() if values.shape == (channels,)}
    evidence = [*_other_half(scene, consumer, window, size, out, channels)]
    norms = np.linalg.norm(weight.reshape(channels, -1).astype(np.float64), axis=1)
    if channels > 2 and norms.all():
        ratios = {name: log_likelihood_ratio(norms, factor) for name, factor in factors.items() if np.ptp(factor)}
        name = max(ratios, key=lambda key: ratios[key], default="")
        if name and ratios[name] > MARGIN:
            edges = np.flatnonzero(factors[name] != factors[name].min())
            evidence.append(
                f"{channels} channels on a plane of {out[0]}x{out[1]}: the weights of channels "
                f"{', '.join(map(str, edges[:8]))} are larger, as the factors of {name} are (log-likelihood ratio "
                f"{ratios[name]:.1f}, suspicious above {MARGIN:.0f})"
            )
    return evidence


def _factors(window: Window, size: tuple[int, int]) -> dict[str, Vector]:
    """The vectors that a simplifier may have taken for scales per channel, by name."""
    rows, columns = (_factor(taps, kernel) for taps, kernel in zip(window.axis_taps(size), window.kernel, strict=True))
    both = {"rows and columns": rows * columns} if len(rows) == len(columns) else {}
    return {"rows": rows, "columns": columns, **both}


def _factor(taps: NDArray[np.int64], kernel: int) -> Vector:
    return np.asarray(kernel / np.maximum(taps, 1), np.float64)


def _other_half(
    scene: Scene, consumer: gs.Node | None, window: Window, size: tuple[int, int], out: tuple[int, int], channels: int
) -> list[str]:
    """A multiply by one axis's factor without the other axis's, whose length is the number of channels."""
    if consumer is None or consumer.op != "Mul":
        return []
    found = []
    for axis, missing in ((0, "column"), (1, "row")):
        expected = list(_factors(window, size).values())[axis]
        shape = (1, 1, out[0], 1) if axis == 0 else (1, 1, 1, out[1])
        for entry in consumer.inputs:
            value = scene.values.of(entry)
            if value is None or value.shape != shape or out[1 - axis] != channels or not np.ptp(expected):
                continue
            ratio = value.reshape(-1) / expected
            if np.ptp(ratio) <= 1e-5 * abs(ratio).max():
                found.append(f"{label(consumer)} multiplies by one half of r: the {missing} factor is missing")
    return found
