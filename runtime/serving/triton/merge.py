"""Puts a new version into a model's configuration that its owner may have edited.

What this package needs to be right is compared: names, types, sizes, batch, backend, file. Everything else stays as it
is written there, also fields that we never write. Comments stay too where nothing has to change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.texts import summary
from rectexport.runtime.errors import BadInput

#: The warm-up sample that we write.
SAMPLE = "golden"


def read_config(path: Path) -> Any:
    """The parsed config.pbtxt. Raises BadInput with the line for text that is no configuration."""
    pb, text_format = require("tritonclient.grpc.model_config_pb2"), require("google.protobuf.text_format")
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    except text_format.ParseError as error:
        raise BadInput(f"{path}: {summary(error)}") from None


def merged(old: Any, make: Callable[[int | None], Any], given: Collection[str], path: Path, several: bool) -> Any:
    """The owner's configuration `old`, with what a new version needs.

    make     the configuration as we would write it, for a largest batch; None: the package's
    given    names of options on the command line, which replace what `old` says: max_batch, instances, max_delay_us
    several  whether the folder will hold more than one version; Triton serves only the newest unless told otherwise

    Raises BadInput that names the field where the two contradict each other.
    """
    keep = None if "max_batch" in given else old.max_batch_size
    new = make(keep)
    clashes = list(_clashes(old, new, given))
    if clashes:
        raise BadInput(
            f"{path}: does not fit this package, and it may be edited: {'; '.join(clashes)}. "
            "Nothing was written; change the file, or write the package under another NAME=PACKAGE"
        )
    result = type(old)()
    result.CopyFrom(old)
    result.max_batch_size = new.max_batch_size
    if "instances" in given or "gpu" in given or not old.instance_group:
        _replace(result.instance_group, new.instance_group)
    if "max_delay_us" in given and new.HasField("dynamic_batching"):
        result.dynamic_batching.max_queue_delay_microseconds = new.dynamic_batching.max_queue_delay_microseconds
    for field in ("default_model_filename", "backend", "platform"):
        setattr(result, field, getattr(old, field) or getattr(new, field))
    result.cc_model_filenames.update(new.cc_model_filenames)
    if several and not old.HasField("version_policy"):
        result.version_policy.all.SetInParent()
    ours = [sample for sample in new.model_warmup if sample.name == SAMPLE]
    if any(sample.name == SAMPLE for sample in old.model_warmup):
        _replace(result.model_warmup, [*(sample for sample in old.model_warmup if sample.name != SAMPLE), *ours])
    return result


def _replace(field: Any, entries: Sequence[Any]) -> None:
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
    del field[:]
    field.extend(copies)


def _clashes(old: Any, new: Any, given: Collection[str]) -> Iterator[str]:
    for field in ("name", "backend", "platform", "default_model_filename"):
        was, wanted = getattr(old, field), getattr(new, field)
        if was and was != wanted:
            yield f"{field} is {was!r}, this package needs {wanted!r}"
    for capability, file in new.cc_model_filenames.items():
        if old.cc_model_filenames.get(capability, file) != file:
            yield f"cc_model_filenames has another plan for {capability} than {file}"
    if old.max_batch_size > new.max_batch_size and "max_batch" not in given:
        yield (
            f"max_batch_size is {old.max_batch_size}, this package takes at most {new.max_batch_size}"
            if new.max_batch_size
            else f"max_batch_size is {old.max_batch_size}, and rows of this package must not share a run"
        )
    if old.HasField("dynamic_batching") and not new.HasField("dynamic_batching"):
        yield "it has dynamic_batching, and requests of this package must not share a run"
    for side in ("input", "output"):
        yield from tensor_clashes(side, getattr(old, side), getattr(new, side))


def tensor_clashes(side: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    """Where two lists of inputs or outputs contradict each other, as text."""
    listed, wanted = {one.name: one for one in old}, {one.name: one for one in new}
    for name in sorted(listed.keys() ^ wanted.keys()):
        yield f"{side} {name!r} is {'not in this package' if name in listed else 'not in the file'}"
    for name in listed.keys() & wanted.keys():
        was, other = listed[name], wanted[name]
        if was.data_type != other.data_type:
            yield f"{side} {name} has another data_type"
        if not fits(model_sizes(was), model_sizes(other)):
            yield f"{side} {name} has sizes {model_sizes(was)}, this package {model_sizes(other)}"


def model_sizes(tensor: Any) -> list[int]:
    """Sizes that the model gets: the reshape's where there is one."""
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def fits(listed: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether listed sizes are the model's; where those are free (-1) they may be fixed."""
    same = len(listed) == len(sizes) and all(size in (-1, one) for one, size in zip(listed, sizes, strict=True))
    return same or (not sizes and math.prod(listed) == 1)
