"""Exact tiling: images of any size, answered tile by tile, equal to the whole image's answer."""
