"""Load a state dict into a network; the error names what does not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.models.loading.key_names import without_wrappers
from rectexport.models.registry import create_model, model_names
from rectexport.runtime.errors import BadInput

SHOWN = 3


def clean_state_dict(
    state_dict: Mapping[str, Any], source_name: str = "state dict", expected: Collection[str] = ()
) -> dict[str, Tensor]:
    """The tensors of a state dict under the keys of the bare network. Keys in `expected` stay as they are.

    Unwraps a training checkpoint's "state_dict" entry and removes the names that DataParallel and torch.compile add
    to the keys, at any depth: in NVIDIA partialconv's VGGs they follow "features". Raises BadInput if anything but
    tensors is left.
    """
    while isinstance(state_dict.get("state_dict"), Mapping):
        state_dict = state_dict["state_dict"]
    if not all(isinstance(key, str) for key in state_dict):
        raise BadInput(f"{source_name}: not a state dict: it has keys that are not strings")
    tensors = {key if key in expected else without_wrappers(key): value for key, value in state_dict.items()}
    strangers = [f"{key:.100} ({fault})" for key, value in tensors.items() if (fault := fault_of(value))]
    if not tensors or strangers:
        raise BadInput(f"{source_name}: not a state dict: {_first(strangers) or 'it is empty'}")
    return tensors


def fault_of(value: Any) -> str | None:
    """What a value is instead of a plain tensor; None for a plain one."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.layout != torch.strided or value.is_quantized:
        return "a sparse or quantized tensor, expected a plain one"
    if value.nbytes > value.untyped_storage().nbytes():
        return f"{list(value.shape)}, but the file holds fewer elements"
    return None


def load_weights(model: nn.Module, state_dict: Mapping[str, Any], source_name: str, arch: str) -> None:
    """Load `state_dict` into `model`; every key and shape must match, and every value must be finite.

    Cleans the keys with `clean_state_dict`. Counters num_batches_tracked, which old checkpoints lack and inference
    ignores, may be missing. Raises BadInput that names the first missing and surplus keys, wrong shapes, NaN or
    infinite tensors, and the network of the zoo whose keys are closest.
    """
    put_weights(model, check_weights(model, state_dict, source_name, arch), source_name, arch)


def put_weights(model: nn.Module, tensors: Mapping[str, Tensor], source_name: str, network: str) -> None:
    """Load tensors that are known to fit, and of which only counters and the like may be missing.

    Raises BadInput for values that are no plain tensors of finite numbers.
    """
    expected = model.state_dict()
    problems = _not_finite(clean_state_dict(tensors, source_name, expected))
    if problems:
        raise BadInput(f"{source_name} does not fit {network}: " + "; ".join(problems))
    model.load_state_dict({**{key: value for key, value in expected.items() if key not in tensors}, **tensors})


def check_weights(model: nn.Module, state_dict: Mapping[str, Any], source_name: str, arch: str) -> dict[str, Tensor]:
    """The cleaned tensors of `state_dict`, if `load_weights` would accept them; raises as it does.

    The model may be on the meta device.
    """
    expected = model.state_dict()
    tensors = clean_state_dict(state_dict, source_name, expected)
    problems = _mismatches(tensors, expected)
    if problems:
        problems += closest_hint(tensors, arch)
    else:
        problems = _not_finite(tensors)
    if problems:
        raise BadInput(f"{source_name} does not fit {arch}: " + "; ".join(problems))
    return tensors


def _mismatches(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    missing = [k for k in expected if k not in tensors and not k.endswith("num_batches_tracked")]
    surplus = [k for k in tensors if k not in expected]
    shapes = [
        f"{key} is {list(tensors[key].shape)}, expected {list(expected[key].shape)}"
        for key in expected
        if key in tensors and tensors[key].shape != expected[key].shape
    ]
    named = (("missing", missing, "key"), ("surplus", surplus, "key"), ("wrong", shapes, "shape"))
    return [f"{len(found)} {word} {noun}s: {_first(found)}" for word, found, noun in named if found]


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    bad = [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    return [f"{len(bad)} tensors with NaN or infinite values: {_first(bad)}"] if bad else []


def _first(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (", …" if len(items) > SHOWN else "")


def closest_hint(tensors: Mapping[str, Tensor], arch: str) -> list[str]:
    """A phrase naming the closest network of the zoo, unless that is arch; a list of at most one."""
    name, share = closest_arch(tensors)
    return [f"closest model: {name} ({share:.0%} of the keys)"] if share and name != arch else []


def closest_arch(tensors: Mapping[str, Tensor]) -> tuple[str, float]:
    """The network whose keys and shapes overlap most with those of tensors, and the share of common keys."""
    keys = set(tensors)
    shaped = {(key, tuple(value.shape)) for key, value in tensors.items()}
    best = max(model_names(), key=lambda name: _overlap(_shapes_of(name), shaped))
    return best, _overlap({key for key, _ in _shapes_of(best)}, keys)


def _overlap(left: set[Any] | frozenset[Any], right: set[Any]) -> float:
    return len(left & right) / max(len(left | right), 1)


@cache
def _shapes_of(name: str) -> frozenset[tuple[str, tuple[int, ...]]]:
    with torch.device("meta"):
        state = create_model(name).state_dict()
    return frozenset((key, tuple(value.shape)) for key, value in state.items())
