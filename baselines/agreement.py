"""Do the parts of one image tell of one lens? A measure of a PSF on real recordings that needs no truth."""

import math

from torch import Tensor

CEILING_DB = 60.0
"""Of equal PSFs."""
LEAST_WINDOWS = 4
"""Sides of a spectrum's windows that an image must have one way, and half of them the other, to be taken in halves."""


def agreement_db(a: Tensor, b: Tensor) -> float:
    """How like two PSFs (h, w) are: mean power over the power of their difference, in dB, at most `CEILING_DB`.

    The same whichever comes first, and whether or not one is turned by 180°, which no spectrum sees.
    """
    a, b = a.double(), b.double()
    error = min(float((a - other).square().sum()) for other in (b, b.flip(0, 1)))
    power = float(a.square().sum() + b.square().sum()) / 2
    return CEILING_DB if error == 0 else min(10 * math.log10(power / error), CEILING_DB)


def halves(y: Tensor, window: int) -> tuple[Tensor, Tensor] | None:
    """The halves of an image (H, W), cut across its longer side; None where they would be too small to say much."""
    if max(y.shape) < LEAST_WINDOWS * window or min(y.shape) < LEAST_WINDOWS // 2 * window:
        return None
    first, second = y.tensor_split(2, int(y.shape[1] > y.shape[0]))
    return first, second
