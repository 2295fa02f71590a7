"""The zoo through TensorRT for RTX: every network, form, precision and kind of shape is parsed and built."""
