"""Networks: IN reads the blur's parameters from an image, DN restores the image. Torch modules, no training code."""

from deepblur.nets.deblurrer import Deblurrer
from deepblur.nets.drunet import DRUNet
from deepblur.nets.identifier import Identifier, log_power_spectrum

__all__ = ["DRUNet", "Deblurrer", "Identifier", "log_power_spectrum"]
