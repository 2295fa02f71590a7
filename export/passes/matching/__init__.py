"""Shared by the raise passes: recognise values, windows, sizes and tap counts in a graph."""
