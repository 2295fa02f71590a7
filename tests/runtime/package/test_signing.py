"""A signature protects the manifest, and the manifest protects every file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

import rectexport
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import Package
from rectexport.runtime.package.signing import check_signature, generate_key, sign_package

pytest.importorskip("cryptography")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("key.pub")


def test_signed_and_loaded(package: Path, key: Path, public: Path) -> None:
    with pytest.raises(BadInput, match="is not signed"):
        rectexport.load(package, require_signature=public)
    assert sign_package(Package.open(package), key).stat().st_size == 64
    rectexport.load(package, require_signature=public).close()
    rectexport.load(package).close()


def test_only_the_owner_can_read_the_private_key(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(BadInput, match="never overwritten"):
        generate_key(key)


def test_an_existing_key_is_kept_and_no_public_key_is_left(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("dear")
    with pytest.raises(BadInput, match="never overwritten"):
        generate_key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_signature_of_another_key_is_refused(package: Path, key: Path, tmp_path: Path) -> None:
    sign_package(Package.open(package), key)
    other = generate_key(tmp_path / "other")
    with pytest.raises(BadInput, match="another key signed it"):
        check_signature(Package.open(package), other)


@pytest.mark.parametrize(
    "change", [lambda d: d["files"].update({"model.onnx": "0" * 64}), lambda d: d.update(created="")]
)
def test_a_changed_manifest_is_refused(package: Path, key: Path, public: Path, change) -> None:
    sign_package(Package.open(package), key)
    document = json.loads((package / "manifest.json").read_text())
    change(document)
    (package / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match="changed after it was signed"):
        check_signature(Package.open(package), public)


def test_a_changed_file_is_refused(package: Path, key: Path, public: Path) -> None:
    sign_package(Package.open(package), key)
    with (package / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(BadInput, match="sha256"):
        rectexport.load(package, require_signature=public)
    with pytest.raises(BadInput, match="sha256"):
        sign_package(Package.open(package), key)


def test_a_manifest_replaced_after_it_was_read_is_refused(package: Path, key: Path, public: Path) -> None:
    sign_package(Package.open(package), key)
    opened = Package.open(package)
    opened.manifest.data["created"] = "another one was read"
    with pytest.raises(BadInput, match="was changed while"):
        check_signature(opened, public)


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\0" * 63, b"x" * 1000])
def test_a_missing_signature_is_refused(package: Path, public: Path, signature: bytes) -> None:
    (package / "manifest.sig").write_bytes(signature)
    with pytest.raises(BadInput, match="not a signature"):
        check_signature(Package.open(package), public)


def test_files_that_are_not_keys_are_refused(package: Path, key: Path, public: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP256R1())
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "ec").write_bytes(other.private_bytes(encoding, kind, serialization.NoEncryption()))
    locked = serialization.BestAvailableEncryption(b"secret")
    (tmp_path / "locked").write_bytes(other.private_bytes(encoding, kind, locked))
    (tmp_path / "text").write_text("hello")
    for name, said in (
        ("ec", "not an Ed25519 key; make one with"),
        ("locked", "password"),
        ("text", "not an Ed25519 private key"),
        ("no", "no: no such file"),
    ):
        with pytest.raises(BadInput, match=said):
            sign_package(Package.open(package), tmp_path / name)
    with pytest.raises(BadInput, match="not an Ed25519 private key"):
        sign_package(Package.open(package), public)
    with pytest.raises(BadInput, match="not an Ed25519 public key"):
        check_signature(_signed(package, key), key)


def _signed(package: Path, key: Path) -> Package:
    sign_package(Package.open(package), key)
    return Package.open(package)


def test_sign_and_keygen_on_the_command_line(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from rectexport.cli.main import main

    for words in (["keygen", str(tmp_path / "k")], ["sign", str(package), "--key", str(tmp_path / "k")]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code
        assert "PASSED" in capsys.readouterr().out.splitlines()[-1]
    check_signature(Package.open(package), tmp_path / "k.pub")
    with pytest.raises(SystemExit) as ended:
        main(["sign", str(package), "--key", str(tmp_path / "k.pub")])
    assert ended.value.code == 1
    assert "not an Ed25519 private key" in capsys.readouterr().err


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
def test_a_private_key_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        public = generate_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert public.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("kind", ["pipe", "device", "long"])
def test_keys_and_signatures_that_never_end_are_refused(
    package: Path, key: Path, public: Path, tmp_path: Path, kind: str
) -> None:
    def put(path: Path) -> Path:
        path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            with path.open("wb") as stream:
                stream.truncate(1 << 29)
        return path

    said = {"pipe": "is a pipe", "device": "is a device", "long": "more than .* bytes, the most"}[kind]
    signed = _signed(package, key)
    with pytest.raises(BadInput, match=f"other: {said}"):
        sign_package(Package.open(package), put(tmp_path / "other"))
    with pytest.raises(BadInput, match=f"other: {said}"):
        check_signature(signed, tmp_path / "other")
    put(package / "manifest.sig")
    with pytest.raises(BadInput, match=f"manifest.sig: {said}"):
        check_signature(signed, public)
