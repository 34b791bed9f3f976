"""Sample data of the plugin: glands from scikit-image, blurred by a lens that the metadata tell of."""

from typing import Any

import numpy as np
import torch
from skimage import data

from deepblur.operators import PoissonGaussian, ZernikeBlur

LENS = {"na": 1.3, "wavelength_nm": 520.0, "pixel_nm": 80.0, "index": 1.515}
_WAVES = (0.05, -0.07, 0.04, 0.06, -0.05, 0.03, -0.04)
"""Of the first modes; the others have none."""
_READ_STD = 0.005
_FULL_SCALE = 4000
_DRIFT_WAVES = (-0.1, -0.05, 0.0, 0.05, 0.1)
"""Defocus of the frames."""
_SIDE = 350

LayerData = tuple[np.ndarray, dict[str, Any], str]


def blurry_glands() -> list[LayerData]:
    """One image with several aberrations."""
    return [_layer("blurry glands", [_WAVES])]


def drifting_glands() -> list[LayerData]:
    """Frames of which each is out of focus by another amount."""
    return [_layer("drifting glands", [(waves, *_WAVES[1:3]) for waves in _DRIFT_WAVES])]


def _layer(name: str, waves: list[tuple[float, ...]]) -> LayerData:
    """A frame for each list of coefficients, 16 bits; frames alone make an axis."""
    cutoff = LENS["na"] / LENS["wavelength_nm"] * LENS["pixel_nm"]
    lens = ZernikeBlur(cutoff=cutoff)
    sharp = torch.from_numpy(data.immunohistochemistry()[:_SIDE, :_SIDE, 1] / 255).float()[None, None]
    gamma = torch.zeros(len(waves), lens.num_parameters)
    for k, some in enumerate(waves):
        gamma[k, : len(some)] = torch.tensor(some)
    blurry = lens.forward(sharp.expand(len(waves), -1, -1, -1), gamma)
    blurry = PoissonGaussian(0.0, _READ_STD)(blurry, torch.Generator().manual_seed(0))
    stored = (blurry[:, 0].clamp(0, 1) * _FULL_SCALE).round().numpy().astype(np.uint16)
    pixel_um = LENS["pixel_nm"] / 1000
    about = {"name": name, "metadata": dict(LENS), "units": "um", "scale": (pixel_um,) * 2}
    if len(waves) > 1:
        about |= {"units": ("s", "um", "um"), "scale": (1.0, pixel_um, pixel_um), "axis_labels": ("t", "y", "x")}
    return (stored if len(waves) > 1 else stored[0]), about, "image"
