"""Quantize a lowered model to int8 with Q/DQ nodes: ranges from calibration data, placement by the target's engine."""
