"""Hashes, and atomic replacement of files and folders."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rectexport.runtime.base import files
from rectexport.runtime.base.files import copy_file, locked, replaced_directory, replaced_file, sha256
from rectexport.runtime.errors import BadInput

OURS = '{"format": "rectexport-package"}'


def make(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 5])
def test_sha256_of_every_size(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert sha256(tmp_path / "file") == hashlib.sha256(data[:size]).hexdigest()


def test_a_new_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "a/b/out"
    with replaced_directory(out, "manifest.json") as work:
        assert work.parent == out.parent
        assert work.name.startswith(".out.")
        (work / "file").write_text("new")
        (work / "inner").mkdir()
        (work / "inner/file").write_text("deep")
        assert not out.exists()
    assert tree(tmp_path) == {"a/b/out/file": "new", "a/b/out/inner/file": "deep"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_package_of_ours_is_replaced_completely(tmp_path: Path) -> None:
    make(tmp_path / "out", manifest_json=OURS, old_txt="old")
    with replaced_directory(tmp_path / "out", "manifest.json") as work:
        (work / "new.txt").write_text("new")
        assert tree(tmp_path / "out") == {"manifest.json": OURS, "old.txt": "old"}
    assert tree(tmp_path) == {"out/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "out")
    with replaced_directory(tmp_path / "out", "manifest.json") as work:
        (work / "new.txt").write_text("new")
    assert tree(tmp_path) == {"out/new.txt": "new"}


def test_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("first", "second"):
        with replaced_directory(Path("out"), "manifest.json") as work:
            (work / "manifest.json").write_text(OURS)
            (work / "file").write_text(text)
    assert tree(tmp_path) == {"out/manifest.json": OURS, "out/file": "second"}


@pytest.mark.parametrize(
    "marker",
    [None, "", "{}", "[]", "null", '{"format": "webapp"}', '{"name": "rectexport-package"}', "[" * 100_000, "\udc80"],
    ids=lambda text: repr(text)[:20],
)
def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path, marker: str | None) -> None:
    """Browser extensions and web apps have a manifest.json too."""
    out = make(tmp_path / "out", photo_jpg="dear")
    if marker is not None:
        (out / "manifest.json").write_text(marker, errors="surrogateescape")
    with (
        pytest.raises(
            BadInput, match=r"out: already holds other files \(no manifest\.json of rectexport\); .* with -o"
        ),
        replaced_directory(out, "manifest.json"),
    ):
        pytest.fail("the block must not run")
    assert (out / "photo.jpg").read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_manifest_that_is_a_folder_is_not_ours(tmp_path: Path) -> None:
    make(tmp_path / "out/manifest.json")
    with pytest.raises(BadInput, match="already holds"), replaced_directory(tmp_path / "out", "manifest.json"):
        pytest.fail("the block must not run")


def test_a_file_and_links_are_refused(tmp_path: Path) -> None:
    package = make(tmp_path / "package", manifest_json=OURS)
    (tmp_path / "file").write_text("dear")
    (tmp_path / "link").symlink_to(package)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name, kind in [("file", "a file"), ("link", "a symbolic link"), ("broken", "a symbolic link")]:
        refused = pytest.raises(BadInput, match=f"{name}: is {kind}, not a folder; choose another output with -o")
        with refused, replaced_directory(tmp_path / name, "manifest.json"):
            pytest.fail("the block must not run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "file", "link", "package"]
    assert tree(package) == {"manifest.json": OURS}


@pytest.mark.parametrize("out", ["", ".", "..", "a/.."])
def test_the_current_folder_is_refused_even_if_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    inner = make(tmp_path / "inner/a").parent
    monkeypatch.chdir(inner / "a" if out != "a/.." else inner)
    said = "cannot be replaced as a whole; name a folder in it, as in -o"
    with pytest.raises(BadInput, match=said), replaced_directory(Path(out), "manifest.json"):
        pytest.fail("the block must not run")
    assert not tree(tmp_path)


def test_a_mounted_folder_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's volume, for example, can neither be renamed nor replaced."""
    out = make(tmp_path / "out")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == out)
    said = rf"name a folder in it, as in -o {out}/net"
    with pytest.raises(BadInput, match=said), replaced_directory(out, "manifest.json"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existing", [True, False])
def test_an_error_in_the_block_changes_nothing(tmp_path: Path, error: type[BaseException], existing: bool) -> None:
    if existing:
        make(tmp_path / "out", manifest_json=OURS, old_txt="old")
    before = tree(tmp_path)

    def write() -> None:
        with replaced_directory(tmp_path / "out", "manifest.json") as work:
            (work / "half").write_text("half")
            raise error("inside")

    with pytest.raises(error, match="inside"):
        write()
    assert tree(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * existing


@pytest.mark.parametrize("error", [OSError(16, "Device or resource busy"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_rename_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
) -> None:
    """The old package is set aside by the first rename, the new one put in place by the second."""
    monkeypatch.setattr(files, "_exchange", lambda work, out: False)
    make(tmp_path / "out", manifest_json=OURS, old_txt="old")
    calls = []
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == failing:
            raise error
        rename(source, target)

    def write() -> None:
        with replaced_directory(tmp_path / "out", "manifest.json") as work:
            (work / "new.txt").write_text("new")
            monkeypatch.setattr(os, "rename", fail)

    if isinstance(error, OSError):
        with pytest.raises(BadInput, match="out: cannot be replaced: Device or resource busy"):
            write()
    else:
        with pytest.raises(KeyboardInterrupt):
            write()
    assert tree(tmp_path) == {"out/manifest.json": OURS, "out/old.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_parent_that_cannot_hold_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    for out in (tmp_path / "file/out", tmp_path / "file/a/b/out"):
        said = rf"out: cannot be written here: {tmp_path}/file is a file"
        with pytest.raises(BadInput, match=said), replaced_directory(out, "manifest.json"):
            pytest.fail("the block must not run")
    assert tree(tmp_path) == {"file": "dear"}


def test_a_parent_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    said = "out: cannot be written here: Permission denied"
    with pytest.raises(BadInput, match=said), replaced_directory(tmp_path / "out", "manifest.json"):
        pytest.fail("the block must not run")


def test_an_interrupt_between_the_renames_restores_the_old_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_exchange", lambda work, out: False)
    make(tmp_path / "out", manifest_json=OURS, old_txt="old")
    rename = os.rename

    def interrupted(source: Path, target: Path) -> None:
        rename(source, target)
        monkeypatch.setattr(os, "rename", rename)
        raise KeyboardInterrupt

    def write() -> None:
        with replaced_directory(tmp_path / "out", "manifest.json") as work:
            (work / "new.txt").write_text("new")
            monkeypatch.setattr(os, "rename", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert tree(tmp_path) == {"out/manifest.json": OURS, "out/old.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_packages_are_exchanged_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old package is not renamed first: there is a package at every moment."""
    make(tmp_path / "out", manifest_json=OURS, old_txt="old")

    def refuse(*_: object) -> None:
        pytest.fail("two steps")

    with replaced_directory(tmp_path / "out", "manifest.json") as work:
        (work / "new.txt").write_text("new")
        monkeypatch.setattr(os, "rename", refuse)
    assert tree(tmp_path) == {"out/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_renames_if_folders_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchange", lambda work, out: False)
    make(tmp_path / "out", manifest_json=OURS, old_txt="old")
    with replaced_directory(tmp_path / "out", "manifest.json") as work:
        (work / "new.txt").write_text("new")
    assert tree(tmp_path) == {"out/new.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_package_set_aside_by_a_killed_process_is_restored(tmp_path: Path) -> None:
    make(tmp_path / ".out.abcd1234.old", manifest_json=OURS, old_txt="old")
    make(tmp_path / ".out.abcd1234.partial", new_txt="half")
    with pytest.raises(ValueError, match="later"), replaced_directory(tmp_path / "out", "manifest.json"):
        raise ValueError("later")
    assert tree(tmp_path) == {"out/manifest.json": OURS, "out/old.txt": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_others_filled_in_the_meantime_is_kept(tmp_path: Path) -> None:
    def write() -> None:
        with replaced_directory(tmp_path / "out", "manifest.json") as work:
            (work / "new.txt").write_text("new")
            make(tmp_path / "out", photo_jpg="dear")

    with pytest.raises(BadInput, match="already holds other files"):
        write()
    assert tree(tmp_path) == {"out/photo.jpg": "dear"}


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o077, 0o700, 0o600), (0o022, 0o755, 0o644), (0, 0o777, 0o666)])
def test_permissions_are_those_that_the_umask_leaves(tmp_path: Path, umask: int, folder: int, file: int) -> None:
    (tmp_path / "old").touch(0o640)
    (tmp_path / "program").write_text("#!/bin/sh")
    (tmp_path / "program").chmod(0o755)
    before = os.umask(umask)
    try:
        with replaced_directory(tmp_path / "a/out", "manifest.json") as work:
            copy_file(tmp_path / "old", work / "plain")
            copy_file(tmp_path / "program", work / "program")
        for name in ("new", "old"):
            with replaced_file(tmp_path / name) as temporary:
                temporary.write_text("text")
        with locked(tmp_path / "lock"):
            pass
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    expected = {"a": folder, "a/out": folder, "a/out/plain": file, "a/out/program": folder}
    expected |= {"new": file, "old": file, "lock": file, "program": 0o755}
    assert modes == {Path(name): mode for name, mode in expected.items()}


def test_a_lock_that_another_process_holds_is_refused_on_request(tmp_path: Path) -> None:
    script = """
import subprocess
import sys
from pathlib import Path
from rectexport.runtime.base.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
    words = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        with pytest.raises(BadInput, match=r"^somebody is here$"), locked(tmp_path / "lock", "somebody is here"):
            pytest.fail("the block must not run")
    with locked(tmp_path / "lock", "somebody is here"):
        pass


def test_a_pipe_in_place_of_the_marker_is_not_ours(tmp_path: Path) -> None:
    out = make(tmp_path / "out")
    os.mkfifo(out / "manifest.json")
    with pytest.raises(BadInput, match="already holds"), replaced_directory(out, "manifest.json"):
        pytest.fail("the block must not run")


def test_what_is_hashed_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="is a pipe"):
        sha256(tmp_path / "pipe")
