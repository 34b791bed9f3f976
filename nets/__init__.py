"""Networks: IN reads the blur's parameters from an image; DN restores the image, NAFNet does without an operator.

Torch modules, no training code.
"""

from deepblur.nets.deblurrer import Deblurrer
from deepblur.nets.drunet import DRUNet
from deepblur.nets.identifier import Identifier, log_power_spectrum
from deepblur.nets.nafnet import NAFNet

__all__ = ["DRUNet", "Deblurrer", "Identifier", "NAFNet", "log_power_spectrum"]
