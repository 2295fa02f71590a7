"""Plots of the page, each an SVG drawing: time by layer, candidates, latencies."""
