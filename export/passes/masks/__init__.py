"""Passes about masked partial convolution: MaskedCount and MaskedRectify of the dialect."""
