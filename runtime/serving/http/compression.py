"""Decompresses request bodies, up to the size limit."""

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
    return opened
