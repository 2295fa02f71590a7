"""One line about all passes, in words: "12 passes: 4 rectifications folded, 2 even kernels, 1 CReLU, 4 BatchNorms"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rectexport.exporter.graph.results import PassResult
from rectexport.exporter.passes.order import PASSES, RAISE

#: Name of a pass -> one place where it fired, and several; in the order they are told.
WORDS: dict[str, tuple[str, str]] = {
    "raise": ("operator found", "operators found"),
    "rectify_fold": ("rectification folded", "rectifications folded"),
    "lower_rectify": ("rectification folded", "rectifications folded"),
    "rectify_graph": ("rectification computed from the shapes", "rectifications computed from the shapes"),
    "rectify_unbiased": ("rectification read from a plugin package", "rectifications read from a plugin package"),
    "rectify_border": ("rectification left to the plugin", "rectifications left to the plugin"),
    "lower_symmetric_conv": ("even kernel", "even kernels"),
    "lower_crelu": ("CReLU", "CReLUs"),
    "lower_neg_concat": ("CReLU without activation", "CReLUs without activation"),
    "batch_norm": ("BatchNorm", "BatchNorms"),
    "lower_norm_conv": ("BatchNorm", "BatchNorms"),
    "lower_linear_convs": ("pair of convolutions merged", "pairs of convolutions merged"),
    "global_mean": ("global mean", "global means"),
    "whole_shape": ("shape read whole", "shapes read whole"),
    "masked_ones": ("mask of ones folded", "masks of ones folded"),
    "masked_counts": ("node of masked convolutions", "nodes of masked convolutions"),
    "boundary_pad": ("border", "borders"),
    "lower_boundary": ("border in another form", "borders in another form"),
    "lower_circular": ("border in another form", "borders in another form"),
    "wrap_pad": ("circular padding", "circular paddings"),
    "resize_matrix": ("resizing as matrices", "resizings as matrices"),
    "ceil_pool": ("ceil-mode pool", "ceil-mode pools"),
    "narrow_arithmetic": ("8-bit operation", "8-bit operations"),
    "early_cast": ("early cast of uint8", "early casts of uint8"),
    "lrn_bias": ("broken bias of local normalization", "broken biases of local normalization"),
    "softplus_tail": ("softplus with its small results", "softplus with their small results"),
    "dft_matrix": ("Fourier transform", "Fourier transforms"),
    "shared_weights": ("shared weight copied", "shared weights copied"),
}
#: Passes that the guard may have run one by one; together they are the pass "raise".
RAISED = {entry.name for entry in PASSES if entry.stage == RAISE}
#: Passes that prepare, tidy or convert: their firings are details.
LEFT_OUT = ("masked_narrow", "rectify_ones", "inline", "cleanup", "float16", "bfloat16")


def summarize(results: Iterable[PassResult]) -> str:
    """How many passes ran, and what fired."""
    results = list(results)
    counts = Counter[tuple[str, str]]()
    for words in WORDS.values():
        counts[words] = 0
    for result in results:
        if result.name not in LEFT_OUT:
            name = RAISE if result.name in RAISED else result.name
            counts[WORDS.get(name, (f"by {name}", f"by {name}"))] += len(result.fired)
    fired = [f"{count} {one if count == 1 else several}" for (one, several), count in counts.items() if count]
    passes = "1 pass" if len(results) == 1 else f"{len(results)} passes"
    return f"{passes}: {', '.join(fired) or 'nothing to rewrite'}"
