"""A package that was changed, truncated or is incomplete is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import LOCK, Package, add_files, changing


@pytest.mark.parametrize("name", ["w.plan", "w.partial"])
def test_an_unlisted_file_that_a_model_names_is_refused(package: Path, name: str) -> None:
    """A model may keep its weights in any file beside it, and a signature would not cover this one."""
    (package / name).write_bytes(b"weights")
    Package.open(package).verify_files()  # of a build, as long as no model names it
    model = package / "model.onnx"
    add_files(package, {"model.onnx": model.read_bytes() + name.encode()})
    with pytest.raises(BadInput, match=f"{name}: not listed in the manifest, and a model of the package names it"):
        Package.open(package).verify_files()


def test_a_lock_with_content_is_refused(package: Path) -> None:
    (package / LOCK).touch()
    Package.open(package).verify_files()
    (package / LOCK).write_bytes(b"weights")
    with pytest.raises(BadInput, match="not listed in the manifest"):
        Package.open(package).verify_files()


def test_a_missing_model_is_named_also_beside_a_lock(package: Path) -> None:
    (package / LOCK).touch()
    (package / "model.onnx").unlink()
    with pytest.raises(BadInput, match=r"model\.onnx: listed in the manifest but missing"):
        Package.open(package).verify_files()


def test_an_exported_package_passes(exported: Path) -> None:
    package = Package.open(str(exported))
    assert package.path == exported
    assert package.model_file == exported / "model.onnx"
    assert package.model_file.is_file()
    package.verify_files()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("name", ["model.onnx", "goldens.npz", "parity.json", "export.log"])
@pytest.mark.parametrize("change", [flip, truncate, lengthen], ids=lambda change: change.__name__)
def test_every_changed_file_is_found(package: Path, name: str, change: Callable[[Path], None]) -> None:
    opened = Package.open(package)
    change(package / name)
    with pytest.raises(BadInput) as refused:
        opened.verify_files()
    message = str(refused.value)
    assert message.startswith(f"{package / name}: sha256 ")
    assert f"the manifest says {opened.manifest.files[name][:12]}…" in message
    assert message.endswith("changed or cut short; copy or export the package again")


def test_a_changed_hash_is_found(package: Path) -> None:
    manifest = package / "manifest.json"
    digest = Package.open(package).manifest.files["parity.json"]
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
    with pytest.raises(BadInput, match=r"parity\.json: sha256 .* where the manifest says 000000000000…"):
        Package.open(package).verify_files()


def test_missing_files_folders_and_links_are_refused(package: Path, tmp_path: Path) -> None:
    opened = Package.open(package)
    model, elsewhere = package / "model.onnx", tmp_path / "elsewhere.onnx"
    model.rename(elsewhere)
    said = r"model\.onnx: listed in the manifest but missing; copy the package again"
    with pytest.raises(BadInput, match=said):
        opened.verify_files()
    model.symlink_to(elsewhere)  # the right bytes, but they may be others when the engine reads them
    with pytest.raises(BadInput, match=said):
        opened.verify_files()
    model.unlink()
    model.mkdir()
    with pytest.raises(BadInput, match=said):
        opened.verify_files()


@pytest.mark.parametrize("name", ["notes.txt", "model.onnx.data", ".hidden"])
def test_a_file_that_is_not_listed_is_refused(package: Path, name: str) -> None:
    """A model may refer to any file of its folder."""
    (package / name).write_text("mine")
    with pytest.raises(BadInput, match=f"{name}: not listed in the manifest"):
        Package.open(package).verify_files()


def test_a_signature_is_not_listed(package: Path) -> None:
    (package / "manifest.sig").write_bytes(b"")
    Package.open(package).verify_files()


def test_goldens_hold_inputs_and_outputs(exported: Path) -> None:
    package = Package.open(exported)
    inputs, outputs = package.goldens()
    for arrays, entries in ((inputs, package.manifest.inputs), (outputs, package.manifest.outputs)):
        assert [(name, array.dtype.name, array.shape) for name, array in arrays.items()] == [
            (entry.name, entry.dtype, entry.shape) for entry in entries
        ]


def test_names_of_goldens_may_hold_dots(package: Path) -> None:
    np.savez(package / "goldens.npz", **{"input.a.b": np.ones(2), "output.c": np.zeros(3), "output.d.0": np.ones(1)})
    inputs, outputs = Package.open(package).goldens()
    assert list(inputs) == ["a.b"]
    assert list(outputs) == ["c", "d.0"]
    assert outputs["c"].shape == (3,)


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    return stream.getvalue()


def archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for name, data in files.items():
            written.writestr(f"{name.replace('_', '.')}.npy", data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"PK\x03\x04 cut short",
        npy(),
        npz(**{"input.x": np.ones(3)})[:-30],
        npz(**{"other.x": np.ones(3)}),
        npz(x=np.ones(3)),
        npz(**{"input.x": np.array([print, None], dtype=object)}),
        archive(input_x=b""),
        archive(input_x=npy()[:-1]),
        archive(input_x=npy().replace(b"'<f8'", b"'<q9'")),
    ],
    ids=["empty", "garbage", "zip", "npy", "cut", "side", "name", "pickle", "void", "array", "dtype"],
)
def test_unreadable_goldens_are_refused(package: Path, data: bytes) -> None:
    (package / "goldens.npz").write_bytes(data)
    with pytest.raises(BadInput, match=r"goldens\.npz: unreadable goldens: ."):
        Package.open(package).goldens()


def test_missing_goldens_are_refused(package: Path) -> None:
    (package / "goldens.npz").unlink()
    with pytest.raises(BadInput, match=r"goldens\.npz: unreadable goldens: .*No such file"):
        Package.open(package).goldens()


def test_files_are_added_with_their_hashes(package: Path, tmp_path: Path) -> None:
    before = json.loads((package / "manifest.json").read_text())
    source = tmp_path / "figures"
    source.write_text("1")
    added = add_files(package, {"latency.json": source}, {"note": 1, "plans": [{"file": "a", "v": 1}]})
    assert (package / "latency.json").read_text() == "1"
    added.verify_files()
    added = add_files(package, {}, {"plans": [{"file": "b"}, {"file": "a", "v": 2}]})
    assert added.manifest.data["plans"] == [{"file": "b"}, {"file": "a", "v": 2}]
    after = dict(added.manifest.data)
    assert after.pop("note") == 1 and after.pop("plans") and after["files"].pop("latency.json")
    assert after == before


@pytest.mark.parametrize("step", ["shutil.copyfile", "sha256"], ids=["before the copy", "after it"])
def test_an_interrupted_change_leaves_a_valid_package(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    source = tmp_path / "plan"
    source.write_text("old")
    add_files(package, {"a.plan": source}, {"plans": [{"file": "a.plan"}]})
    source.write_text("new")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"rectexport.runtime.package.folder.{step}", stop)
        with pytest.raises(KeyboardInterrupt):
            add_files(package, {"a.plan": source}, {"plans": [{"file": "a.plan"}]})
    left = Package.open(package)
    left.verify_files()
    assert "a.plan" not in left.manifest.files and not left.manifest.data["plans"]
    assert not list(package.glob(".*.partial"))


def test_bytes_can_be_added_like_files(package: Path) -> None:
    add_files(package, {"a.plan": b"code"}).verify_files()
    assert (package / "a.plan").read_bytes() == b"code"


def test_files_that_cannot_be_replaced_are_refused_before_any_change(package: Path) -> None:
    add_files(package, {"a.plan": b"code"})
    before = (package / "manifest.json").read_bytes()
    (package / "a.plan").unlink()
    (package / "a.plan").mkdir()
    with pytest.raises(BadInput, match=r"a\.plan: is a folder; expected the name of a file"):
        add_files(package, {"a.plan": b"code"})
    assert (package / "manifest.json").read_bytes() == before


def test_the_manifest_cannot_be_added(package: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"manifest\.json is written by this function"):
        add_files(package, {"manifest.json": tmp_path / "x"})


def test_a_folder_that_is_not_a_package_gets_no_lock_file(package: Path, tmp_path: Path) -> None:
    with changing(package) as opened:
        assert opened.path == package and (package / LOCK).stat().st_size == 0
    with pytest.raises(BadInput, match="not a package"), changing(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()
