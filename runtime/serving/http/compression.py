"""Decompresses request bodies, up to the size limit, and compresses answers where the client asks for it."""

from __future__ import annotations

import zlib

from rectexport.runtime.serving.request_error import RequestError

#: Content-Encoding -> zlib's window bits; 32 + recognizes gzip and zlib headers.
_WINDOWS = {b"gzip": 32 + zlib.MAX_WBITS, b"deflate": 32 + zlib.MAX_WBITS}


def decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The decompressed body.

    Raises RequestError 415 for an unknown encoding, 400 for broken data, 413 for more than `limit` bytes.
    """
    if encoding == b"identity":
        return body
    if encoding not in _WINDOWS:
        raise RequestError(415, "Content-Encoding: expected gzip, deflate or none")
    stream = zlib.decompressobj(_WINDOWS[encoding])
    try:
        opened = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError(400, f"the body is not {encoding.decode()} data: {error}") from None
    if len(opened) > limit:
        raise RequestError(413, f"the decompressed body has more than {limit} bytes")
    if not stream.eof:
        raise RequestError(400, f"the body's {encoding.decode()} data is cut short")
    if stream.unused_data:
        raise RequestError(400, f"the body has {len(stream.unused_data)} bytes behind its {encoding.decode()} data")
    return opened


def accepted(header: bytes) -> bytes:
    """gzip or deflate, the one that Accept-Encoding prefers; empty where it names neither."""
    weights: dict[bytes, float] = {}
    for part in header.lower().split(b","):
        name, _, rest = part.strip().partition(b";")
        quality = rest.strip().removeprefix(b"q=")
        try:
            weights[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            continue
    found = [(weights.get(name, weights.get(b"*", 0.0) if name == b"gzip" else 0.0), name) for name in _WINDOWS]
    weight, name = max(found)
    return name if weight > 0 else b""


def compressed(body: bytes, encoding: bytes) -> bytes:
    """The body as gzip or deflate (zlib's format), at zlib's fastest level: answers wait for it."""
    window = 16 + zlib.MAX_WBITS if encoding == b"gzip" else zlib.MAX_WBITS
    stream = zlib.compressobj(1, zlib.DEFLATED, window)
    return stream.compress(body) + stream.flush()
