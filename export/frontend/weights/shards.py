"""Read the index of weights that are split over several files, as Hugging Face's tools write it."""

from __future__ import annotations

import json
from pathlib import Path

from rectexport.runtime.base.reading import check_regular, read_bounded
from rectexport.runtime.base.texts import brief
from rectexport.runtime.errors import BadInput

#: Most bytes of an index.
MAX_INDEX = 64 << 20
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def read_index(path: Path) -> dict[Path, list[str]]:
    """Names of tensors by the file that holds them: model.safetensors.index.json and its like.

    Raises BadInput for a file that is no such index, and for shards that are missing or outside the index's folder.
    """
    try:
        document = json.loads(read_bounded(path, MAX_INDEX))
    except (ValueError, RecursionError):
        raise BadInput(f"{path}: not an index of weights: it is no JSON") from None
    entries = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise BadInput(f"{path}: not an index of weights: it has no 'weight_map'")
    shards: dict[Path, list[str]] = {}
    for tensor, name in entries.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(SUFFIXES):
            raise BadInput(f"{path}: the weights {tensor:.100} are in {brief(name)}, expected a file of this folder")
        shards.setdefault(path.parent / name, []).append(tensor)
    for shard in shards:
        check_regular(shard)
    return shards
