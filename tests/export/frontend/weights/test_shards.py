"""Weights that are split over several files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rectexport.exporter.base.options import LoadOptions
from rectexport.exporter.frontend.load import load_source
from rectexport.exporter.frontend.weights.shards import read_index
from rectexport.runtime.errors import BadInput

NET = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3))
OPTIONS = LoadOptions(model=lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3)))


def write(folder: Path, kind: str) -> Path:
    """NET in two shards with an index."""
    stem = "model" if kind == "safetensors" else "pytorch_model"
    places: dict[str, str] = {}
    for index in (0, 1):
        part: dict[str, Tensor] = {key: value for key, value in NET.state_dict().items() if key[0] == str(index)}
        name = f"{stem}-{index + 1:05}-of-00002.{kind}"
        save_file(part, folder / name) if kind == "safetensors" else torch.save(part, folder / name)
        places |= dict.fromkeys(part, name)
    path = folder / f"{stem}.{kind}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_an_index_or_its_folder(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind)
    for given in (path, tmp_path):
        source = load_source(given, OPTIONS)
        assert source.path == path
        assert all(torch.equal(value, NET.state_dict()[key]) for key, value in source.model.state_dict().items())


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    save_file(NET.state_dict(), tmp_path / "model.safetensors")
    assert load_source(tmp_path, OPTIONS).path == tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "it is no JSON"),
        ([1], "it has no 'weight_map'"),
        ({"weight_map": {}}, "it has no 'weight_map'"),
        (
            {"weight_map": {"a": "../x.safetensors"}},
            r"the weights a are in '../x\.safetensors', expected a file of this",
        ),
        ({"weight_map": {"a": "/etc/passwd"}}, "expected a file of this folder"),
        ({"weight_map": {"a": 3}}, "expected a file of this folder"),
        ({"weight_map": {"a": "gone.safetensors"}}, r"gone\.safetensors: no such file"),
    ],
)
def test_an_index_that_cannot_be_used(document: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(BadInput, match=message):
        read_index(path)


def test_shards_that_do_not_hold_what_the_index_says(tmp_path: Path) -> None:
    path = write(tmp_path, "bin")
    torch.save({}, tmp_path / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(BadInput, match=r"pytorch_model-00002-of-00002\.bin has no tensor '1\.weight'"):
        load_source(path, OPTIONS)
    (tmp_path / "pytorch_model-00002-of-00002.bin").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(BadInput, match=r"pytorch_model-00002-of-00002\.bin"):
        load_source(path, OPTIONS)
