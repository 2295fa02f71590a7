"""Rewrites around faults of single engines: each is exact, and can go when its engine is mended.

The tests in tests/export/passes/engines try each against the engine itself, and fail when the fault is gone.
"""

from __future__ import annotations

from rectexport.exporter.graph.results import Pass
from rectexport.exporter.passes.engines import (
    ceil_pool,
    dft_matrix,
    narrow_arithmetic,
    resize_matrix,
    shared_weights,
    wrap_pad,
)

__all__ = ["engine_passes", "last_engine_passes"]

_WRAP = Pass(wrap_pad.NAME, wrap_pad.run)
_MATRIX = Pass(resize_matrix.NAME, resize_matrix.run)
_DFT = Pass(dft_matrix.NAME, dft_matrix.run)
_NARROW = Pass(narrow_arithmetic.NAME, narrow_arithmetic.run)
_PASSES = {
    "openvino": (
        _WRAP,
        _MATRIX,
        Pass(ceil_pool.NAME, ceil_pool.run),
        _NARROW,
        _DFT,
    ),
    "tensorrt": (_WRAP, _MATRIX, _NARROW, _DFT),
    "portable": (_WRAP,),
}

_LAST = {"openvino": (Pass(shared_weights.NAME, shared_weights.run),)}


def engine_passes(target: str) -> tuple[Pass, ...]:
    """The passes that a target's engine needs, before forms are chosen; none for a target without known faults."""
    return _PASSES.get(target, ())


def last_engine_passes(target: str) -> tuple[Pass, ...]:
    """The passes that must come after cleanup, which joins equal constants."""
    return _LAST.get(target, ())
