"""Compressed bodies, opened no further than the limit on bodies allows."""

from __future__ import annotations

import zlib

from rectexport.runtime.serving.refusal import Refusal

#: Content-Encoding -> zlib's window bits; 32 + recognizes gzip and zlib headers.
_WINDOWS = {b"gzip": 32 + zlib.MAX_WBITS, b"deflate": 32 + zlib.MAX_WBITS}


def decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body as it was. Raises Refusal 415 for another encoding, 400 for broken data, 413 beyond `limit` bytes."""
    if encoding == b"identity":
        return body
    if encoding not in _WINDOWS:
        raise Refusal(415, "Content-Encoding: expected gzip, deflate or none")
    stream = zlib.decompressobj(_WINDOWS[encoding])
    try:
        opened = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refusal(400, f"the body is not {encoding.decode()} data: {error}") from None
    if len(opened) > limit:
        raise Refusal(413, f"the decompressed body has more than {limit} bytes")
    if not stream.eof:
        raise Refusal(400, f"the body's {encoding.decode()} data is cut short")
    return opened
