"""Compare the exported model with its source: the float64 reference, outputs, inner layers."""
