"""Layers, networks and checkpoints of the four papers that rectexport deploys.

Importing this package imports no PyTorch. The first use of a public name imports the module that defines it.
"""

from typing import TYPE_CHECKING

__all__ = [
    "AVR",
    "BoundaryConv1d",
    "BoundaryConv2d",
    "BoundaryConv3d",
    "CReLU",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedConv3d",
    "RectifiedConv1d",
    "RectifiedConv2d",
    "RectifiedConv3d",
    "ScaledCReLU",
    "SymmetricConv2d",
    "SymmetricPad2d",
    "create_model",
    "model_names",
]

_HOME = {
    "AVR": "rectexport.models.layers.crelu",
    "BoundaryConv1d": "rectexport.models.layers.boundary",
    "BoundaryConv2d": "rectexport.models.layers.boundary",
    "BoundaryConv3d": "rectexport.models.layers.boundary",
    "CReLU": "rectexport.models.layers.crelu",
    "ScaledCReLU": "rectexport.models.layers.crelu",
    "MaskedConv1d": "rectexport.models.layers.masked",
    "MaskedConv2d": "rectexport.models.layers.masked",
    "MaskedConv3d": "rectexport.models.layers.masked",
    "RectifiedConv1d": "rectexport.models.layers.rectified",
    "RectifiedConv2d": "rectexport.models.layers.rectified",
    "RectifiedConv3d": "rectexport.models.layers.rectified",
    "SymmetricConv2d": "rectexport.models.layers.symmetric",
    "SymmetricPad2d": "rectexport.models.layers.symmetric",
    "create_model": "rectexport.models.registry",
    "model_names": "rectexport.models.registry",
}

if TYPE_CHECKING:
    from rectexport.models.layers.boundary import BoundaryConv1d, BoundaryConv2d, BoundaryConv3d
    from rectexport.models.layers.crelu import AVR, CReLU, ScaledCReLU
    from rectexport.models.layers.masked import MaskedConv1d, MaskedConv2d, MaskedConv3d
    from rectexport.models.layers.rectified import RectifiedConv1d, RectifiedConv2d, RectifiedConv3d
    from rectexport.models.layers.symmetric import SymmetricConv2d, SymmetricPad2d
    from rectexport.models.registry import create_model, model_names
else:

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOME[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *_HOME})
