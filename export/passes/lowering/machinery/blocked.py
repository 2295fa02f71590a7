"""The blocked layout of ONNX Runtime's CPU, [N, C/B, H, W, B], in which it keeps float32 convolutions."""

#: B on processors with AVX-512; others have blocks of 8 or 4, which divide it.
BLOCK = 16
