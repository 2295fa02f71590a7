"""An answer in place of logits: softmax, sigmoid, the class, or the best classes and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.exporter.base.processing import Answer
from rectexport.runtime.errors import Option, UsageError


class AnswerModule(nn.Module):
    """What a model returns -> the same with one tensor replaced; classes lie along axis 1.

    softmax, sigmoid  the shape stays
    argmax            int64 without axis 1
    topk              {"values", "indices"}: the k largest in falling order, and int64, with k entries along axis 1

    Raises UsageError if there are several tensors and no name, or no tensor of that name.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, result: Any) -> Any:
        paths = list(_paths(result, ""))
        wanted = self.answer.output
        if wanted is None and len(paths) == 1:
            wanted = paths[0]
        if wanted is None or wanted not in paths:
            raise UsageError(Option("output", _text(self.answer)), f": {_missing(self.answer, paths)}")
        return _replaced(result, "", wanted, self._answered)

    def _answered(self, values: Tensor) -> Any:
        kind = self.answer.kind
        axis = 1 if values.dim() > 1 else 0
        if kind == "softmax":
            return values.softmax(axis)
        if kind == "sigmoid":
            return values.sigmoid()
        if kind == "argmax":
            return values.argmax(axis)
        if isinstance(values.shape[axis], int) and values.shape[axis] < self.answer.k:
            raise UsageError(Option("output", _text(self.answer)), f": the output has {values.shape[axis]} classes")
        best = torch.topk(values, self.answer.k, axis)
        return {"values": best.values, "indices": best.indices}


def _text(answer: Answer) -> str:
    kind = f"topk={answer.k}" if answer.kind == "topk" else answer.kind
    return kind if answer.output is None else f"{answer.output}:{kind}"


def _missing(answer: Answer, paths: list[str]) -> str:
    if answer.output is None:
        return f"the model has several outputs; say which, as in {paths[0] if paths else 'NAME'}:{answer.kind}"
    return (
        f"no output {answer.output!r:.100}; the model has {', '.join(path or 'one without a name' for path in paths)}"
    )


def _entries(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, Mapping):
        return list(value.items())
    if hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    return list(enumerate(value)) if isinstance(value, list | tuple) else None


def _inner(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else key if isinstance(key, str) else f"output_{key}"


def _paths(value: Any, path: str) -> Any:
    """Names of the tensors, as a package calls its outputs."""
    if isinstance(value, Tensor):
        yield path
    for key, entry in _entries(value) or ():
        yield from _paths(entry, _inner(path, key))


def _replaced(value: Any, path: str, wanted: str, change: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value) if path == wanted else value
    entries = _entries(value)
    if entries is None:
        return value
    new = [_replaced(entry, _inner(path, key), wanted, change) for key, entry in entries]
    if isinstance(value, Mapping):
        return dict(zip(value, new, strict=True))
    if hasattr(value, "_fields"):
        return type(value)(*new)
    return new if isinstance(value, list) else tuple(new)
