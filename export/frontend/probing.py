"""Compare a third-party module with candidates for its replacement by their answers on small random inputs.

Names say little: published code is copied from repository to repository and changed on the way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.exporter.frontend.source import in_eval_mode

#: Relative difference that is rounding in float64 or a published epsilon (1e-8, 1e-6), and in float32.
CLOSE = {torch.float64: 2e-6, torch.float32: 1e-5}


class Probe:
    """The answers of a copy of a module, in float64 if it runs in it; empty where it does not run.

    Inputs on which the module fails are left out, and so are answers that are no tensor.
    """

    def __init__(self, module: nn.Module, shapes: Iterable[Sequence[int]]) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
        self.dtype = torch.float64
        self.answers = _answers(module, inputs, self.dtype)
        if not self.answers:
            self.dtype = torch.float32
            self.answers = _answers(module, inputs, self.dtype)

    def agrees(self, candidate: Callable[[Tensor], Tensor]) -> bool:
        """Whether the candidate answers as the module does, wherever the module's answer is a number.

        A candidate that is a module is copied and moved to the probe's dtype.
        """
        if not self.answers:
            return False
        if isinstance(candidate, nn.Module):
            candidate = in_eval_mode(copy.deepcopy(candidate).to(self.dtype))
        with torch.no_grad():
            return all(_equal(_answer(candidate, value), wanted, CLOSE[self.dtype]) for value, wanted in self.answers)

    @property
    def finite(self) -> bool:
        """Whether all answers are numbers."""
        return all(bool(answer.isfinite().all()) for _, answer in self.answers)


def _answers(module: nn.Module, inputs: Sequence[Tensor], dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    try:
        own = in_eval_mode(copy.deepcopy(module).to(dtype))
    except Exception:  # third-party code may raise anything
        return []
    found = []
    with torch.no_grad():
        for value in inputs:
            answer = _answer(own, value.to(dtype))
            if answer is not None:
                found.append((value.to(dtype), answer))
    return found


def _answer(call: Callable[[Tensor], Any], value: Tensor) -> Tensor | None:
    try:
        answer = call(value.clone())
    except Exception:  # this module does not take such an input
        return None
    return answer.clone() if isinstance(answer, Tensor) else None


def _equal(one: Tensor | None, other: Tensor, close: float) -> bool:
    if one is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    known = other.isfinite()
    if not known.any():
        return False
    scale = float(other[known].abs().max())
    return bool(torch.allclose(one[known], other[known], rtol=close, atol=close * scale))
