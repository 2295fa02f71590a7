"""Shared by the whole runtime: error wording, texts, shapes, files, metrics and the Runner protocol."""
