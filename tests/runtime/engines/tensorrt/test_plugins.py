"""The choice of the plugin library, and errors for files that are not one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rectexport.runtime.engines.tensorrt import plugins
from rectexport.runtime.engines.tensorrt.plugins import plugin_library
from rectexport.runtime.errors import BadInput


@pytest.fixture
def library(tmp_path: Path) -> Path:
    path = tmp_path / "lib.so"
    path.write_bytes(b"\x7fELF and more")
    return path


@pytest.fixture
def built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "built-in" / plugins.LIBRARY
    monkeypatch.setattr(plugins, "_BUILT_IN", path)
    return path


def test_without_a_library_the_result_is_none(built_in: Path) -> None:
    assert plugin_library() is None


def test_the_built_in_library_is_found(built_in: Path, library: Path) -> None:
    built_in.parent.mkdir()
    library.rename(built_in)
    assert plugin_library() == built_in


def test_the_built_in_library_is_in_the_plugins_folder() -> None:
    assert plugins._BUILT_IN.parent == Path(plugins.__file__).resolve().parents[3] / "plugins"


def test_a_given_library_is_preferred(built_in: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built_in.parent.mkdir()
    built_in.write_bytes(library.read_bytes())
    assert plugin_library(library) == library
    monkeypatch.chdir(library.parent)
    assert plugin_library("lib.so") == library


@pytest.mark.parametrize("content", [b"", b"MZ", b"#!/bin/sh\n"])
def test_a_file_that_is_not_a_library_is_refused(library: Path, content: bytes) -> None:
    library.write_bytes(content)
    with pytest.raises(BadInput, match=r"lib\.so: expected a shared library"):
        plugin_library(library)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.so: no such plugin library.*docs/plugin\.md"):
        plugin_library(tmp_path / "none.so")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"{tmp_path}: is a folder, expected a regular file; give the plugin library"):
        plugin_library(tmp_path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.so")
    with pytest.raises(BadInput, match=r"pipe\.so: is a pipe, expected a regular file; give the plugin library"):
        plugin_library(tmp_path / "pipe.so")
