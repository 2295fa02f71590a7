"""Find random numbers in forward, which make a model's outputs differ from run to run."""

from __future__ import annotations

from typing import Any

_DRAWING = {"bernoulli", "multinomial", "normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like"}
_DROPOUTS = {"alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout", "native_dropout"}


def random_calls(program: Any) -> list[str]:
    """Names of the operators in an exported program that draw random numbers; dropout only in training mode."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"] if program is not None else []
    return list(dict.fromkeys(_name(node) for node in calls if _draws(node)))


def _name(node: Any) -> str:
    return getattr(getattr(node.target, "overloadpacket", None), "__name__", "").rstrip("_")


def _draws(node: Any) -> bool:
    name = _name(node)
    return name in _DRAWING or (name in _DROPOUTS and len(node.args) > 2 and node.args[2] is True)
