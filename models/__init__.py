"""Layers, networks and checkpoints of the four papers that rectexport deploys."""

from rectexport.models.layers.crelu import AVR, CReLU, ScaledCReLU
from rectexport.models.layers.rectified import RectifiedConv2d
from rectexport.models.layers.symmetric import SymmetricConv2d, SymmetricPad2d
from rectexport.models.registry import create_model, model_names

__all__ = [
    "AVR",
    "CReLU",
    "RectifiedConv2d",
    "ScaledCReLU",
    "SymmetricConv2d",
    "SymmetricPad2d",
    "create_model",
    "model_names",
]
