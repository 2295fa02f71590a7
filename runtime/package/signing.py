"""Ed25519 signatures of packages: they cover the manifest, which holds the hash of every other file.

manifest.sig is the signature of manifest.json's bytes, 64 bytes as in RFC 8032; keys are PEM files. OpenSSL can check
it too: `openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in manifest.json -sigfile manifest.sig`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.files import replaced_file
from rectexport.runtime.base.reading import read_bounded
from rectexport.runtime.errors import BadInput
from rectexport.runtime.package.folder import SIGNATURE, Package
from rectexport.runtime.package.manifest import FILE_NAME, MAX_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

#: Most bytes of a key's file and of a signature's; Ed25519 keys in PEM have about 120, signatures 64.
MAX_KEY, MAX_SIGNATURE = 16 << 10, 1 << 10
#: Permissions of a private key.
PRIVATE = 0o600
_SERIALIZATION = "cryptography.hazmat.primitives.serialization"
_ED25519 = "cryptography.hazmat.primitives.asymmetric.ed25519"


def generate_key(path: Path) -> Path:
    """Write a new private key to `path`, and the public key to PATH.pub, and return that.

    The private key is readable only by its owner, whatever the umask; the public key by those that the umask allows.
    Raises BadInput when either file exists or cannot be written.
    """
    serialization = require(_SERIALIZATION)
    key = require(_ED25519).Ed25519PrivateKey.generate()
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    public = path.with_name(f"{path.name}.pub")
    _write_new(public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo), 0o666)
    try:
        _write_new(path, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password), PRIVATE)
    except BaseException:
        public.unlink()
        raise
    return public


def sign_package(package: Package, key: Path) -> Path:
    """Check every file of the package, then sign its manifest with the private key; returns the signature's file.

    Raises BadInput for an incomplete or changed package and for a file that is not an Ed25519 private key.
    """
    package.verify_files()
    private: Ed25519PrivateKey = _read_key(key, private=True)
    path = package.path / SIGNATURE
    signature = private.sign(_manifest_bytes(package))
    with replaced_file(path) as temporary:
        temporary.write_bytes(signature)
    return path


def check_signature(package: Package, public_key: str | Path) -> None:
    """Raise BadInput unless the package's manifest is signed with the private key that belongs to `public_key`.

    Does not check the other files: `Package.verify_files` compares them with the manifest.
    """
    public: Ed25519PublicKey = _read_key(Path(public_key), private=False)
    path = package.path / SIGNATURE
    if not path.exists():
        raise BadInput(f"{package.path}: is not signed: {SIGNATURE} is missing; sign it with rectexport sign")
    signature = read_bounded(path, MAX_SIGNATURE)
    try:
        public.verify(signature, _manifest_bytes(package))
    except require("cryptography.exceptions").InvalidSignature:
        raise BadInput(
            f"{path}: not a signature of this manifest by {public_key}: the package was changed after it was signed, "
            "or another key signed it"
        ) from None


def _manifest_bytes(package: Package) -> bytes:
    """The manifest's bytes. Raises BadInput if their content differs from what was read when the package was opened."""
    path = package.path / FILE_NAME
    try:
        content = read_bounded(path, MAX_BYTES)
        same = json.loads(content) == package.manifest.data
    except (ValueError, RecursionError):  # BadInput is a ValueError
        same = False
    if not same:
        raise BadInput(f"{path}: was changed while it was being read; open the package again")
    return content


def _read_key(path: Path, *, private: bool) -> Any:
    serialization, ed25519 = require(_SERIALIZATION), require(_ED25519)
    what = "private" if private else "public"
    content = read_bounded(path, MAX_KEY)
    try:
        key = (
            serialization.load_pem_private_key(content, None) if private else serialization.load_pem_public_key(content)
        )
    except Exception as error:  # a password is needed, an unknown algorithm, not PEM
        raise BadInput(f"{path}: not an Ed25519 {what} key in PEM format without a password: {error}") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise BadInput(f"{path}: not an Ed25519 key; make one with rectexport keygen")
    return key


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise BadInput(f"{path}: exists already; a key is never overwritten") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "wb") as stream:
        if mode == PRIVATE:
            os.chmod(path, mode)  # the umask may have taken its owner's permissions away
        stream.write(content)
