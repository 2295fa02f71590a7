"""Layouts of tensors in ONNX Runtime on the CPU."""

from __future__ import annotations

#: The one that it takes by itself, or NCHW throughout.
LAYOUTS = AUTO_LAYOUT, PLAIN = ("auto", "plain")
