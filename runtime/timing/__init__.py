"""Measure latency: interleaved processes, intervals, the machine's description."""
