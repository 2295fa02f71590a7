"""Shared by the raise passes: recognise constants, windows, sizes and tap counts in a graph."""
