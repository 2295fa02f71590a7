"""Rewrite operators that torch.onnx translates wrongly, before it sees them."""

from __future__ import annotations

from typing import Any

from rectexport.exporter.frontend.source import Source


def prepare(source: Source, program: Any) -> Any:
    return program
