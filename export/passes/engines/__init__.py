"""Rewrites around faults of single engines: each is exact, and can go when its engine is mended.

The tests in tests/export/passes/engines try each against the engine itself, and fail when the fault is gone.
`order.py` says for which targets each runs. The faults themselves stand in export/engine_facts/facts.json.
"""
