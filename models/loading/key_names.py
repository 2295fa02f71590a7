"""Find a network's keys among those of a file, whose training code put wrappers and prefixes before or into them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.parameter import is_lazy

#: What DataParallel, torch.compile, FSDP and activation checkpointing put into a key, at any depth.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
#: Tensors beside the weights: counters of averages, and what profilers leave in every module.
LEFTOVERS = frozenset({"n_averaged", "total_ops", "total_params"})
COUNTER = "num_batches_tracked"
_AVERAGED = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?|shadow|teacher|polyak)(?![a-z])")
#: Most prefixes that are compared in full.
_TRIED = 8
#: Characters of a key among which prefixes end.
LONGEST = 500


@dataclass(frozen=True)
class Fit:
    """How the keys of a file become those of a network.

    prefix    what the file has before the network's keys, with its dot; "+net." where the file lacks "net."
    tensors   the file's tensors under the network's keys, and surplus ones under their own
    missing   keys of the network that the file lacks; counters of batches may be missing and are left out
    surplus   keys beside the network's own with the same prefix
    shapes    keys whose shapes differ
    outside   keys of the file without the prefix
    known     number of the network's keys that are there
    """

    prefix: str
    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    shapes: tuple[str, ...]
    outside: tuple[str, ...]
    known: int

    @property
    def complete(self) -> bool:
        """Whether every key of the network is there, with its shape, and no other one."""
        return not (self.missing or self.surplus or self.shapes)

    @property
    def right(self) -> int:
        """Number of tensors that fit."""
        return self.known - len(self.shapes)


def is_averaged(name: str) -> bool:
    """Whether a name in a file says that weights are averages over training: model_ema, shadow_params."""
    return bool(_AVERAGED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))


def without_wrappers(key: str) -> str:
    """The key without the names that wrappers of modules put into it."""
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def fits(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[Fit]:
    """Ways in which the keys could be meant, those that fit best first; never empty.

    Where the keys fit as they are, a prefix is only tried for averaged weights beside them. Several complete fits mean
    that the file holds several networks.
    """
    cleaned = _unwrapped(tensors, expected)
    own = _with_prefix(cleaned, expected, "")
    as_it_is = not own.missing and not own.shapes
    ways = [tensors] if cleaned.keys() == tensors.keys() else [tensors, cleaned]
    others = [_with_prefix(way, expected, prefix) for way in ways for prefix in _prefixes(way, expected)]
    others += _squashed(tensors, expected)
    if as_it_is:
        others = [fit for fit in others if is_averaged(fit.prefix)]
        averages = tuple(fit.prefix for fit in others)
        surplus = tuple(key for key in own.surplus if not key.startswith(averages))
        kept = {key: value for key, value in own.tensors.items() if key in expected or key in surplus}
        own = replace(own, tensors=kept, surplus=surplus)
    else:
        lacking = _lacking(cleaned, expected)
        others += [_with_prefix(_lengthened(cleaned, more), expected, "", f"+{more}") for more in lacking]
    return sorted([own, *others], key=lambda fit: (not fit.complete, -fit.right, -fit.known))


def _with_prefix(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], prefix: str, name: str = "") -> Fit:
    inside = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    inside = {key: value for key, value in inside.items() if key in expected or not _is_leftover(key)}
    return _compared(inside, expected, name or prefix, [key for key in tensors if not key.startswith(prefix)])


def _compared(
    inside: Mapping[str, Tensor], expected: Mapping[str, Tensor], prefix: str, outside: Collection[str] = ()
) -> Fit:
    return Fit(
        prefix,
        inside,
        tuple(key for key in expected if key not in inside and not key.endswith(COUNTER)),
        tuple(key for key in inside if key not in expected),
        tuple(key for key in expected if key in inside and not _same_shape(inside[key], expected[key])),
        tuple(key for key in outside if not _is_leftover(key)),
        sum(key in expected for key in inside),
    )


def _same_shape(value: Tensor, wanted: Tensor) -> bool:
    return is_lazy(wanted) or value.shape == wanted.shape  # a lazy module takes any


def _is_leftover(key: str) -> bool:
    return key.rpartition(".")[2] in LEFTOVERS


def _unwrapped(tensors: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """The tensors without wrappers' names in their keys, where no two keys become one."""
    short = {key: key if key in expected else without_wrappers(key) for key in tensors}
    counts = Counter(short.values())
    return {short[key] if counts[short[key]] == 1 else key: value for key, value in tensors.items()}


def _prefixes(tensors: Iterable[str], expected: Collection[str]) -> list[str]:
    """What may stand before the network's keys, that of most keys first."""
    counts = Counter(key[:place] for key in tensors for place in _after_dots(key) if key[place:] in expected)
    return [prefix for prefix, _ in counts.most_common(_TRIED)]


def _lacking(tensors: Collection[str], expected: Iterable[str]) -> list[str]:
    """What may be missing before the file's keys, that of most keys first."""
    counts = Counter(key[:place] for key in expected for place in _after_dots(key) if key[place:] in tensors)
    return [prefix for prefix, _ in counts.most_common(2)]


def _lengthened(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in tensors.items()}


def _after_dots(key: str) -> list[int]:
    return [place + 1 for place, sign in enumerate(key[:LONGEST]) if sign == "."]


def _squashed(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[Fit]:
    """Averages kept as buffers, whose names cannot have dots.

    mmcv's EMAHook writes ema_backbone_conv1_weight, LitEma writes model_ema.backboneconv1weight.
    """
    found = []
    for sign in ("_", ""):
        names = {key.replace(".", sign): key for key in expected}
        for prefix in ("ema_", "model_ema.", "ema.", "ema_model."):
            inside = {
                names[name]: value
                for key, value in tensors.items()
                if key.startswith(prefix)
                for name in (key[len(prefix) :], key[len(prefix) :].removeprefix("model" + sign))
                if name in names
            }
            if inside:
                found.append(_compared(inside, expected, prefix))
    return found
