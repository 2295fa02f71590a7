"""Find the weights in a training checkpoint, and choose one set where it holds several.

Training tools keep weights under many keys, beside averaged ones, optimizers and settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from rectexport.models.loading.inert import Inert, module_state
from rectexport.models.loading.key_names import Fit, fits, is_averaged
from rectexport.runtime.errors import BadInput, Option

#: Entries of a checkpoint that hold tensors but no weights.
_OTHER = re.compile(
    r"(optim|sched|scaler|^loops$|rng|random|^hyper|^config|^cfg$|^args$|^meta|amp$|^metric|^loss|^criterion)", re.I
)
#: Nesting of dictionaries that is searched, and most values of a file.
DEPTH, MOST = 6, 1_000_000
#: Choices of `--weights` besides the name of a set.
RAW, EMA = "raw", "ema"
SHOWN = 3


@dataclass(frozen=True)
class WeightSet:
    """One state dict in a file.

    name      its place there, "" for the file itself
    entries   a list where the file keeps the values alone, in the order of the network's parameters
    averaged  whether these are averages over training; None where only the name may say so
    """

    name: str
    entries: Mapping[str, Any] | Sequence[Tensor]
    averaged: bool | None = None


@dataclass(frozen=True)
class Chosen:
    """The weights that were taken.

    tensors   under the network's own keys
    name      their place in the file and their prefix, "" for the whole file
    averaged  whether these are averages over training
    others    names of the other sets that fit
    left_out  keys of the same set that belong to something else
    filled    keys that were taken from other weights of the file: an average of parameters has no buffers
    """

    tensors: dict[str, Tensor]
    name: str
    averaged: bool
    others: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """What a person has to know of the choice, in short phrases; empty where there was none."""
        said = []
        kind = "averaged weights" if self.averaged else "weights"
        if self.others:
            others = ", ".join(self.others)
            said.append(f"{kind} {self.name or 'at the top'} taken; the file also has {others} (--weights chooses)")
        elif self.averaged or self.name not in ("", "state_dict", "model"):
            said.append(f"{kind} {self.name or 'at the top'} taken")
        if self.filled:
            said.append(f"{len(self.filled)} buffers from the other weights of the file: {_first(self.filled)}")
        if self.left_out:
            said.append(f"{len(self.left_out)} other keys left out: {_first(self.left_out)}")
        return said


def find_sets(value: Any) -> list[WeightSet]:
    """Every state dict in a loaded file, in the file's order."""
    known = _known_averages(value) if isinstance(value, Mapping) else {}
    return [replace(entry, averaged=known.get(entry.name)) for entry in _sets(value, "", set())]


def _known_averages(document: Mapping[Any, Any]) -> dict[str, bool]:
    """Sets of tools that keep the averaged weights under state_dict, and the raw ones under another name.

    MMEngine's EMAHook exchanges the two when it saves, and Lightning's WeightAveraging names the raw ones itself.
    """
    meta = document.get("meta")
    if isinstance(meta, Mapping) and "mmengine_version" in meta and "ema_state_dict" in document:
        return {"state_dict": True, "ema_state_dict": False}
    return {"state_dict": True, "current_model_state": False} if "current_model_state" in document else {}


def _sets(value: Any, name: str, seen: set[int]) -> Iterator[WeightSet]:
    """The sets in a value; each container is visited once, since a file can hold itself."""
    if id(value) in seen or len(seen) > MOST:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield WeightSet(name, value.state_dict())
    elif isinstance(value, Inert) and (state := module_state(value)) is not None:
        yield WeightSet(name, state)
    elif isinstance(value, list | tuple) and is_averaged(name) and value and all(isinstance(v, Tensor) for v in value):
        yield WeightSet(name, value)
    elif isinstance(value, Mapping) and name.count(".") < DEPTH:
        inner = [
            found
            for key, entry in value.items()
            if isinstance(key, str) and (is_averaged(key) or not _OTHER.search(key))
            for found in _sets(entry, f"{name}.{key}" if name else key, seen)
        ]
        if inner:
            yield from inner
        elif any(isinstance(entry, Tensor) for entry in value.values()):
            yield WeightSet(name, value)


@dataclass(frozen=True)
class _Candidate:
    name: str
    averaged: bool
    main: bool
    fit: Fit
    filled: tuple[str, ...] = ()


def choose(
    sets: Sequence[WeightSet],
    model: nn.Module,
    wanted: str | None,
    source: str,
    network: str,
    hints: Callable[[Mapping[str, Tensor]], list[str]] = lambda tensors: [],
) -> Chosen:
    """The weights among `sets` that fit the network, as `wanted` says: "raw", "ema", a set's name, or None.

    None takes raw weights where there are any, unless the tool that wrote the file means the averaged ones. hints adds
    to the message what it knows of tensors that do not fit. Raises BadInput, naming `source` and `network`, where none
    fit, with what would; where several do and nothing chooses; and where there is no set as wanted.
    """
    expected: dict[str, Tensor] = {
        key: value for key, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)
    }
    found = [candidate for entry in sets for candidate in _candidates(entry, expected)]
    found = _tied(found, expected)
    raw = [entry for entry in found if entry.fit.complete and not entry.averaged]
    found = [_filled(entry, raw, expected) if entry.averaged else entry for entry in found]
    complete = [entry for entry in found if entry.fit.complete]
    complete = _distinct(complete) if len(complete) > 1 else complete
    if not complete:
        best = max(found, key=lambda entry: (entry.fit.right, entry.fit.known))
        raise BadInput("; ".join([_no_fit(best, sets, expected, source, network), *hints(best.fit.tensors)]))
    taken = _wanted(complete, wanted, source)
    others = tuple(entry.name or "the top" for entry in complete if entry is not taken)
    claimed = tuple(entry.fit.prefix for entry in complete if entry is not taken and entry.fit.prefix)
    left = [key for key in taken.fit.outside if not claimed or not key.startswith(claimed)]
    return Chosen(dict(taken.fit.tensors), taken.name, taken.averaged, others, tuple(left), taken.filled)


def _candidates(entry: WeightSet, expected: Mapping[str, Tensor]) -> Iterator[_Candidate]:
    """A set's ways to fit: those that are complete but for buffers, or else the best one."""
    tensors = _named(entry.entries, expected)
    ways = fits(tensors, expected)
    usable = [way for way in ways if way.right and not way.shapes and not _lacks_parameters(way, expected)] or ways[:1]
    for way in usable:
        prefix = "" if way.prefix.startswith("+") else way.prefix.rstrip("._")
        name = ".".join(part for part in (entry.name, prefix) if part)
        averaged = is_averaged(name) or any(key.rpartition(".")[2] == "n_averaged" for key in tensors)
        yield _Candidate(name, averaged if entry.averaged is None else entry.averaged, entry.averaged is True, way)


def _named(entries: Mapping[str, Any] | Sequence[Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(entries, Mapping):
        return {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    names = [key for key, value in expected.items() if isinstance(value, nn.Parameter)]
    if len(entries) != len(names):
        names = [f"parameter {index}" for index in range(len(entries))]
    return dict(zip(names, entries, strict=True))


def _lacks_parameters(way: Fit, expected: Mapping[str, Tensor]) -> bool:
    return any(isinstance(expected[key], nn.Parameter) for key in way.missing)


def _tied(found: list[_Candidate], expected: Mapping[str, Tensor]) -> list[_Candidate]:
    """With the keys that a file lacks because the network has their tensor under another name too (.safetensors)."""
    names: dict[int, list[str]] = {}
    for key, value in expected.items():
        names.setdefault(id(value), []).append(key)
    twins = {key: group for group in names.values() if len(group) > 1 for key in group}
    return [_with_twins(entry, twins) for entry in found] if twins else found


def _with_twins(entry: _Candidate, twins: Mapping[str, list[str]]) -> _Candidate:
    more = {
        key: entry.fit.tensors[twin]
        for key in entry.fit.missing
        for twin in twins.get(key, ())
        if twin in entry.fit.tensors
    }
    missing = tuple(key for key in entry.fit.missing if key not in more)
    return replace(entry, fit=replace(entry.fit, tensors={**entry.fit.tensors, **more}, missing=missing))


def _filled(entry: _Candidate, raw: Sequence[_Candidate], expected: Mapping[str, Tensor]) -> _Candidate:
    """Averaged parameters with the buffers that only the raw weights have."""
    fit = entry.fit
    if not fit.missing or not raw or _lacks_parameters(fit, expected):
        return entry
    other = raw[0].fit.tensors
    more = {key: other[key] for key in expected if key not in fit.tensors and key in other}
    missing = tuple(key for key in fit.missing if key not in more)
    tensors = {**fit.tensors, **more}
    return replace(entry, fit=replace(fit, tensors=tensors, missing=missing), filled=tuple(more))


def _distinct(complete: Sequence[_Candidate]) -> list[_Candidate]:
    """Without those that hold the same memory as one before: files keep one state dict under two names."""
    kept: dict[tuple[int, ...], _Candidate] = {}
    for entry in complete:
        memory = tuple(sorted(value.data_ptr() for value in entry.fit.tensors.values()))
        kept.setdefault(memory if any(memory) else (id(entry),), entry)
    return list(kept.values())


def _wanted(complete: Sequence[_Candidate], wanted: str | None, source: str) -> _Candidate:
    raw = [entry for entry in complete if not entry.averaged]
    averaged = [entry for entry in complete if entry.averaged]
    if wanted in (None, RAW, EMA):
        chosen = averaged if wanted == EMA else raw
        if wanted is None:
            chosen = [entry for entry in averaged if entry.main] or raw or averaged
    else:
        chosen = [entry for entry in complete if wanted == entry.name] or [
            entry for entry in complete if wanted == entry.fit.prefix.rstrip("._")
        ]
    names = ", ".join(entry.name or "the top" for entry in complete)
    if not chosen:
        kind = {RAW: "no weights but averaged ones", EMA: "no averaged weights"}.get(str(wanted), "no such weights")
        raise BadInput(Option("weights", wanted), f": {source} has {kind}; it has {names}")
    if len(chosen) > 1:
        several = ", ".join(entry.name or "the top" for entry in chosen)
        raise BadInput(f"{source}: {len(chosen)} sets of weights fit: {several}; choose one with ", Option("weights"))
    return chosen[0]


def _no_fit(
    best: _Candidate, sets: Sequence[WeightSet], expected: Mapping[str, Tensor], source: str, network: str
) -> str:
    """What does not fit of the best set, where it stands in the file, and what else the file has."""
    place = f" (weights {best.name})" if best.name else ""
    problems = "; ".join(_mismatches(best.fit, expected))
    text = f"{source} does not fit {network}{place}: {problems}"
    if best.fit.prefix and best.fit.right:
        how = "without" if not best.fit.prefix.startswith("+") else "with"
        prefix = best.fit.prefix.lstrip("+")
        text += f"; {how} the prefix {prefix!r} {best.fit.right} of {len(expected)} keys fit"
    others = [entry.name or "the top" for entry in sets if entry.name and not best.name.startswith(entry.name)]
    return text + (f"; the file also has {', '.join(others[:SHOWN])}" if others else "")


def _mismatches(fit: Fit, expected: Mapping[str, Tensor]) -> list[str]:
    shapes = [f"{key} is {list(fit.tensors[key].shape)}, expected {list(expected[key].shape)}" for key in fit.shapes]
    named = (("missing", fit.missing, "key"), ("surplus", fit.surplus, "key"), ("wrong", shapes, "shape"))
    return [f"{len(entries)} {word} {noun}s: {_first(entries)}" for word, entries, noun in named if entries]


def _first(items: Sequence[str]) -> str:
    return ", ".join(f"{item:.200}" for item in items[:SHOWN]) + (", …" if len(items) > SHOWN else "")
