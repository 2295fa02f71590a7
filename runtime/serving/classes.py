"""The classification extension: an output's largest values with their indices, in place of the output itself.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from rectexport.runtime.base.runner import Array

DATATYPE = "BYTES"


def top_classes(array: Array, count: int, batched: bool) -> Any:
    """Texts "VALUE:INDEX", the largest value first: an object array, [rows, count] where batched, else [count].

    count is lowered to the number of values. Values are written with six decimals, as Triton does.
    """
    rows = array.reshape(len(array) if batched else 1, -1)
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, : min(count, rows.shape[1])]
    form = "{:.6f}:{}" if array.dtype.kind == "f" else "{:d}:{}"
    texts = [[form.format(row[k].item(), k) for k in best] for row, best in zip(rows, order, strict=True)]
    found = np.array(texts, object).reshape(order.shape)
    return found if batched else found.reshape(-1)


def as_bytes(texts: Any) -> bytes:
    """Each text after its length in 4 bytes, little-endian, as the protocol has BYTES tensors."""
    parts = [text.encode() for text in texts.ravel()]
    return b"".join(piece for part in parts for piece in (struct.pack("<I", len(part)), part))
