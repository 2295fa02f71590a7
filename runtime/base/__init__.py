"""Shared by all of the runtime: errors' helpers, texts, shapes, files, metrics and the Runner protocol."""
