"""The file of measured figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectexport.exporter.passes.lowering.machinery.cache import Cache, default_path

KEY = {"operator": "crelu", "shape": [1, 8], "target": "onnxruntime"}
FIGURES = {"doubled": (0.5, 0.01), "halves": (1.25, 0.1)}


def test_figures_come_back_under_their_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tuning.json"
    cache = Cache(path)
    assert cache.get(KEY) is None
    cache.put(KEY, FIGURES)
    cache.put({**KEY, "shape": [1, 16]}, {"doubled": (2.0, 0.0)})
    assert Cache(path).get(dict(reversed(KEY.items()))) == FIGURES, "the order of a key's entries does not matter"
    assert cache.get({**KEY, "target": "openvino"}) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["tuning.json"]


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00"])
def test_a_file_that_cannot_be_read_counts_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "tuning.json").write_text(text)
    cache = Cache(tmp_path / "tuning.json")
    assert cache.get(KEY) is None
    cache.put(KEY, FIGURES)
    assert cache.get(KEY) == FIGURES


def test_a_file_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file" / "tuning.json").put(KEY, FIGURES)


def test_the_folder_is_that_of_the_users_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "rectexport" / "tuning.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_path() == tmp_path / "home" / ".cache" / "rectexport" / "tuning.json"
