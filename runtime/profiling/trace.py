"""A profile as a Chrome trace, which chrome://tracing and ui.perfetto.dev open.

The layers stand one after another, each as long as its mean; the modules that they belong to stand above them. Format:
the Trace Event Format, https://chromium.googlesource.com/catapult, "complete" events, times in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rectexport.runtime.profiling.profile import LayerTime, Profile

_MODULES, _LAYERS = 1, 2


def chrome_trace(profile: Profile) -> dict[str, Any]:
    """The document."""
    events = [
        _name(_MODULES, "PyTorch modules"),
        _name(_LAYERS, profile.description),
        *_module_events(profile),
        *_layer_events(profile),
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def spans(layers: tuple[LayerTime, ...]) -> Iterator[tuple[LayerTime, float]]:
    """Each layer with the second at which it begins."""
    begin = 0.0
    for layer in layers:
        yield layer, begin
        begin += layer.seconds


def path_of(module: str) -> list[str]:
    """The modules that a module lies in, outermost first: a, a.b, a.b.c."""
    parts = module.split(".") if module.strip(".") else []
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _name(thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": 1, "tid": thread, "name": "thread_name", "args": {"name": name}}


def _event(thread: int, name: str, begin: float, seconds: float, **args: Any) -> dict[str, Any]:
    times = {"ts": round(begin * 1e6, 3), "dur": round(seconds * 1e6, 3)}
    return {"ph": "X", "pid": 1, "tid": thread, "name": name, **times, "args": args}


def _layer_events(profile: Profile) -> Iterator[dict[str, Any]]:
    for layer, begin in spans(profile.layers):
        args = {"module": layer.module, "passes": layer.passes, "nodes": layer.nodes, "bound": layer.bound}
        known = {"kind": layer.kind, "operations": layer.operations, "bytes": layer.traffic}
        yield _event(_LAYERS, layer.name, begin, layer.seconds, **args, **known)
    end = sum(layer.seconds for layer in profile.layers)
    for name, seconds in profile.outside.items():
        yield _event(_LAYERS, name, end, seconds)
        end += seconds


def _module_events(profile: Profile) -> Iterator[dict[str, Any]]:
    """One event for each stretch of layers in a module, the outer module first."""
    opened: dict[str, float] = {}
    end = 0.0
    for layer, begin in spans(profile.layers):
        path = path_of(layer.module)
        for name in [name for name in opened if name not in path]:
            since = opened.pop(name)
            yield _event(_MODULES, name, since, begin - since)
        for name in path:
            opened.setdefault(name, begin)
        end = begin + layer.seconds
    for name, begin in opened.items():
        yield _event(_MODULES, name, begin, end - begin)
