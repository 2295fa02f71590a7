"""Layers, networks and checkpoints of the four ideas that rectexport deploys."""

from rectexport.models.crelu import AVR, CReLU, ScaledCReLU
from rectexport.models.rectified import RectifiedConv2d
from rectexport.models.registry import create_model, model_names
from rectexport.models.symmetric import SymmetricConv2d, SymmetricPad2d

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
