"""Measurements behind docs/benchmarks.md and the committed cost tables; see benchmarks/forms.py."""
