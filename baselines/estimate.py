"""What every method takes and returns: one observation in, one estimate out."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from deepblur.nets.identifier import half_overlapping_starts

READ_PX = 512
"""A method without training reads the blur from at most this many rows and columns, where the image is richest."""
_SCALE_MAX = 10.0  # noise may carry an image in [0, 1] some way beyond; 8-bit numbers are far beyond


class DivergedError(ArithmeticError):
    """A method came to no finite estimate on this image. The observation stays without one; nothing else is wrong."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a method made of one observation.

    Raises:
        DivergedError: a tensor holds NaN or infinity (its name is given).
    """

    image: Tensor
    """(H, W), the restored image on the observation's pixels, intensity in [0, 1] up to over- and undershoot."""
    psf: Tensor | None = None
    """(h, w), odd sides, sum 1, its middle pixel the origin; None where the method estimates no PSF."""
    gamma: Tensor | None = None
    """(K,), parameters of the operator family that the method was given; None where it uses no family."""
    gamma_std: Tensor | None = None
    """(K,), the method's own uncertainty of gamma, in gamma's unit; None where it states none."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            bad = 0 if value is None else int((~torch.isfinite(value)).sum())
            if bad:
                raise DivergedError(f"the method diverged: its {field.name} holds {bad} values that are not finite")


def check_image(image: np.ndarray | Tensor, psf_size: int = 1) -> Tensor:
    """The observation (H, W) as a float32 (or float64, where it is) tensor on its device.

    Args:
        image: (H, W), intensity in [0, 1]; noise may carry single pixels beyond.
        psf_size: odd side in pixels of the PSF to estimate or apply.
    Raises:
        ValueError: not one grey floating-point image, NaN or infinity, numbers far outside [0, 1], a constant image,
            an even psf_size, or an image smaller than the PSF.
    """
    tensor = torch.as_tensor(image)
    if tensor.ndim != 2 or not tensor.is_floating_point():
        raise ValueError(
            f"a method takes one grey floating-point image (H, W) in [0, 1]; got {tuple(tensor.shape)} of "
            f"{tensor.dtype}; average the channels and divide by the largest value the camera can give"
        )
    if psf_size < 1 or psf_size % 2 == 0:
        raise ValueError(f"psf_size is odd, so that the PSF has a middle pixel; got {psf_size}; take {psf_size + 1}")
    if min(tensor.shape) < max(psf_size, 2):
        raise ValueError(
            f"the image must be at least as large as the PSF; got {tensor.shape[0]}x{tensor.shape[1]} pixels and "
            f"psf_size={psf_size}; lower psf_size or give a larger image"
        )
    bad = count_not_finite(tensor)
    if bad:
        raise ValueError(f"the image holds {bad} values that are NaN or infinite; replace them before deblurring")
    low, high = float(tensor.min()), float(tensor.max())
    if low == high:
        raise ValueError(f"the image is constant ({low:g} everywhere), so it says nothing of its blur; give another")
    if max(-low, high) > _SCALE_MAX:
        raise ValueError(f"intensities lie in [0, 1]; got {low:g} to {high:g}; divide by the camera's largest value")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def count_not_finite(y: Tensor) -> int:
    """How many values of an image (H, W) are NaN or infinite, a part at a time: a large one may lie on disk."""
    return sum(int((~torch.isfinite(part)).sum()) for part in y.split(max(1, 2**22 // y.shape[-1])))


def richest(y: Tensor, side: int) -> Tensor:
    """The part of y (H, W) with at most `side` rows and columns whose values vary most."""
    return y[richest_part(y, side)]


def richest_part(y: Tensor, side: int) -> tuple[slice, slice]:
    """Rows and columns of `richest`."""
    H, W = y.shape
    h, w = min(H, side), min(W, side)
    best, found = -1.0, (slice(0, h), slice(0, w))
    for row in half_overlapping_starts(H, h):
        for column in half_overlapping_starts(W, w):
            part = slice(row, row + h), slice(column, column + w)
            spread = float(y[part].std())
            if spread > best:
                best, found = spread, part
    return found
