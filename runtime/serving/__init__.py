"""Packages behind the Open Inference Protocol v2: one codec, one batcher, hosts of different size."""
