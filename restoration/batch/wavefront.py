"""The wavefront that a set of Zernike coefficients describes, as a map over the pupil."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deepblur.operators import zernike

SIZE_PX = 129


def wavefront(noll: Sequence[int], gamma: Tensor, size_px: int = SIZE_PX) -> np.ndarray:
    """(size_px, size_px) float32 in waves: Σ γ_k Z_k over the unit disc, NaN outside; rows as those of the PSF.

    Args:
        noll: K Noll indices.
        gamma: (K,), in waves.
    """
    side = torch.linspace(-1, 1, size_px, dtype=torch.float64)
    v, u = torch.meshgrid(side, side, indexing="ij")
    waves = torch.tensordot(gamma.double(), zernike(list(noll), u, v), dims=1)
    return torch.where(u**2 + v**2 <= 1, waves, torch.nan).float().numpy()
