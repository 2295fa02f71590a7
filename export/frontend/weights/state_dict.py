"""From weights to a network: of the zoo, or the user's own; and modules that were pickled whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rectexport.exporter.base.options import LoadOptions
from rectexport.exporter.frontend.source import Source, in_eval_mode, unwrapped
from rectexport.exporter.frontend.weights.own_code import build_own
from rectexport.models.loading.key_names import is_averaged, without_wrappers
from rectexport.models.loading.weight_sets import EMA, RAW, Chosen, WeightSet, choose, find_sets
from rectexport.models.loading.weights import closest_arch, closest_hint, fault_of, put_weights
from rectexport.models.rectify import RECTIFIED_OR_LAZY, plain
from rectexport.models.registry import create_model, model_entry, model_names
from rectexport.runtime.base.texts import brief
from rectexport.runtime.errors import BadInput, Option, UsageError


def from_weights(path: Path, value: Any, options: LoadOptions) -> Source:
    """A source of the weights in a loaded file, and the network that the options name.

    Raises UsageError where they name none, BadInput for weights that do not fit it.
    """
    sets = find_sets(value)
    if not sets:
        empty = "it is empty" if not value else f"it holds no tensors under its keys {brief([*value][:5])}"
        raise BadInput(f"{path}: not a state dict: {empty}")
    for entry in sets:
        _check_entries(entry, str(path))
    if options.model is not None:
        return _own(path, sets, options, _settings(value))
    if options.arch is None:
        raise UsageError(
            f"{path}: holds weights only; name a network of your own with ",
            Option("model", "FILE.py:CLASS"),
            ", or say which network they belong to with ",
            Option("arch", "NAME"),
            *_hint(sets),
        )
    return _of_zoo(path, sets, options.arch, options)


def own_network(options: LoadOptions) -> Source:
    """The user's own network, with the weights that its code gives it."""
    if options.model is None:
        raise UsageError("give MODEL, a file, or ", Option("model"), " with a network of your own")
    if options.weights is not None:
        raise UsageError(Option("weights", options.weights), ": chooses among the weights of a file, and none is given")
    model = build_own(options.model, options.model_args)
    remark = "no file of weights was given: the weights are those that its code sets"
    return Source("module", model, _described(model, _network(options)), remarks=[remark])


def pickled_module(value: Any, wanted: str | None) -> tuple[nn.Module, list[str]] | None:
    """A module that was pickled whole, alone or in a checkpoint, and what to say of the choice; None without one."""
    if isinstance(value, nn.Module):
        return value, []
    if not isinstance(value, Mapping):
        return None
    found = {str(key): unwrapped(entry) for key, entry in value.items() if isinstance(unwrapped(entry), nn.Module)}
    found = {key: entry for key, entry in found.items() if any(True for _ in entry.parameters()) and not _is_loss(key)}
    if not found:
        return None
    raw, averaged = ([key for key in found if is_averaged(key) is kind] for kind in (False, True))
    names = {None: raw or averaged, RAW: raw, EMA: averaged}.get(wanted, [wanted] if wanted in found else [])
    if len(names) != 1:
        raise BadInput(Option("weights", wanted), f": the file holds the modules {', '.join(found)}; name one of them")
    others = [key for key in found if key != names[0]]
    more = f"; the file also has {', '.join(others)} (--weights chooses)" if others else ""
    return found[names[0]], [f"module {names[0]} taken{more}"]


def _is_loss(name: str) -> bool:
    return any(part in name.lower() for part in ("criterion", "loss", "metric"))


def _check_entries(entry: WeightSet, source: str) -> None:
    """Raise BadInput for entries that are no plain tensors, but for numbers and the like beside the weights."""
    if not isinstance(entry.entries, Mapping):
        return
    if not all(isinstance(key, str) for key in entry.entries):
        raise BadInput(f"{source}: not a state dict: it has keys that are not strings")
    strangers = [
        f"{key:.100} ({fault})"
        for key, value in entry.entries.items()
        if isinstance(value, Tensor) or ("." in key and not key.endswith("_extra_state"))
        if (fault := fault_of(value))
    ]
    if strangers:
        raise BadInput(f"{source}: not a state dict: {', '.join(strangers[:3])}")


def _hint(sets: Sequence[WeightSet]) -> list[str | Option]:
    entries = next((entry.entries for entry in sets if isinstance(entry.entries, Mapping)), {})
    tensors = {without_wrappers(key): value for key, value in entries.items() if isinstance(value, Tensor)}
    name, share = closest_arch(tensors)
    return ["; its keys look like ", Option("arch", name)] if share > 0.5 else [f"; known: {', '.join(model_names())}"]


def _of_zoo(path: Path, sets: Sequence[WeightSet], arch: str, options: LoadOptions) -> Source:
    model = create_model(arch, num_classes=_count_classes(arch, sets))
    chosen = choose(sets, model, options.weights, str(path), arch, lambda tensors: closest_hint(tensors, arch))
    put_weights(model, chosen.tensors, str(path), arch)
    remarks = [*chosen.remarks(), *_settle_rectified(model, arch, options.rectified)]
    shape = (1, *model_entry(arch).input_shape)
    return Source("module", model.eval(), f"weights of {arch}", path, default_shape=shape, remarks=remarks)


def _settle_rectified(model: nn.Module, arch: str, rectified: bool | None) -> list[str]:
    """Make the network plain where that is asked for, and say which of the two it is."""
    count = sum(isinstance(module, RECTIFIED_OR_LAZY) for module in model.modules())
    if rectified is not None and not count:
        raise UsageError(Option("rectified" if rectified else "plain"), f": {arch} has no rectified convolutions")
    if not count:
        return []
    said = f"{count} convolutions rectified"
    if rectified is False:
        report = plain(model)
        return [f"{len(report.changed)} convolutions plain, as asked for; {arch} of the zoo rectifies them"]
    if rectified:
        return [said]
    return [
        f"{said}: assumed, because {arch} of the zoo rectifies them and a plain network's weights have the same keys "
        "(--rectified or --plain says which)"
    ]


def _count_classes(arch: str, sets: Sequence[WeightSet]) -> int | None:
    """Number of classes of the file's classifier, so that a fine-tuned head loads; None for a file without one."""
    with torch.device("meta"):
        last = [key for key in create_model(arch).state_dict() if key.endswith(".weight")][-1]
    for entry in sets:
        named = entry.entries.items() if isinstance(entry.entries, Mapping) else ()
        for key, value in named:
            if isinstance(value, Tensor) and f".{without_wrappers(key)}".endswith(f".{last}") and value.dim() in (2, 4):
                return int(value.shape[0])
    return None


def _own(path: Path, sets: Sequence[WeightSet], options: LoadOptions, settings: str) -> Source:
    network = _network(options)
    model = build_own(options.model, options.model_args, settings)
    try:
        chosen = choose(sets, model, options.weights, str(path), network)
        put_weights(model, chosen.tensors, str(path), network)
    except BadInput:
        loaded = _as_its_code_loads(model, sets) if options.weights is None else None
        if loaded is None:
            raise
        model, chosen = loaded
    return Source(
        "module", in_eval_mode(model), f"weights of {_described(model, network)}", path, remarks=chosen.remarks()
    )


def _as_its_code_loads(model: nn.Module, sets: Sequence[WeightSet]) -> tuple[nn.Module, Chosen] | None:
    """The network with the first set that its own load_state_dict takes as it is: it may rename keys, or keep state."""
    for entry in sets:
        loaded = copy.deepcopy(model)
        try:
            loaded.load_state_dict(entry.entries)  # type: ignore[arg-type]
        except Exception:  # noqa: S112  the user's code may raise anything; the other sets may still fit
            continue
        if all(bool(value.isfinite().all()) for value in loaded.state_dict().values() if isinstance(value, Tensor)):
            return loaded, Chosen({}, entry.name, is_averaged(entry.name))
    return None


def _network(options: LoadOptions) -> str:
    """What messages call the user's own network."""
    named = options.model
    if isinstance(named, str):
        return named
    return str(getattr(named, "__qualname__", type(named).__name__))


def _described(model: nn.Module, network: str) -> str:
    place = network.rpartition(":")[0]
    return f"{type(model).__name__} of {place}" if place else type(model).__name__


def _settings(value: Any) -> str:
    """The settings that Lightning keeps beside the weights, in words, for a network whose arguments are missing."""
    kept = value.get("hyper_parameters") if isinstance(value, Mapping) else None
    if not isinstance(kept, Mapping):
        return ""
    words = [f"{key}={entry!r}" for key, entry in kept.items() if isinstance(entry, bool | int | float | str)]
    return f"; the file's hyper_parameters are {', '.join(words[:8])}" if words else ""
