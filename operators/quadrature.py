"""The Gauss rule by which the integral over a pupil's disc is taken, and that over a coarse pixel's square.

Legendre along each chord, Chebyshev of the second kind across the chords; see `pupil`.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deepblur.operators.zernike import zernike

NYQUIST = 0.25  # cycles per pixel: an intensity PSF holds frequencies up to twice the pupil radius
POINTS = 5  # a side, of the integral over a coarse pixel


class PupilRule(NamedTuple):
    """The integral over the pupil as two products of matrices."""

    modes: Tensor  # (K, chords · nodes), 2π Z_k at the nodes
    defocus: Tensor  # (1, chords · nodes), radians
    across: Tensor  # (chords, nodes, w), complex: weights and exp(2πi u x); 5w and 5h where pixels are coarse
    along: Tensor  # (chords, h), complex: weights and exp(2πi v y)


def points() -> tuple[np.ndarray, np.ndarray]:
    """Where the points of a coarse pixel are, in pixels from its middle, and their weights, of sum 1."""
    places, weights = np.polynomial.legendre.leggauss(POINTS)
    return places / 2, weights / 2


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # the constants serve later calls that train
def pupil_rule(
    noll: tuple[int, ...],
    cutoff: float,
    psf_size: int,
    z_px: float,
    wavenumber: float,
    nodes: int,
    dtype: torch.dtype,
    device: torch.device,
) -> PupilRule:
    """Constants of the quadrature, computed in float64 and rounded once; weights make the field's energy one."""
    angle = np.pi * np.arange(1, nodes + 1) / (nodes + 1)
    v, v_weight = np.cos(angle), np.pi / (nodes + 1) * np.sin(angle) ** 2
    v = (v - v[::-1]) / 2  # symmetric to the last bit, so that the twin identity is exact
    s, s_weight = np.polynomial.legendre.leggauss(nodes)
    half_chord = np.sqrt(1 - v**2)
    u = half_chord[:, None] * s
    pixels = np.arange(psf_size) - psf_size // 2
    if cutoff > NYQUIST:
        pixels = (pixels[:, None] + points()[0]).ravel()
    across = s_weight[:, None] * np.exp(2j * np.pi * cutoff * u[..., None] * pixels)
    along = v_weight[:, None] * np.exp(2j * np.pi * cutoff * v[:, None] * pixels) * cutoff / math.sqrt(math.pi)

    u_t = torch.from_numpy(u)
    v_t = torch.from_numpy(v)[:, None].expand_as(u_t)
    modes = 2 * math.pi * zernike(noll, u_t, v_t).flatten(1)
    rho2 = (u_t**2 + v_t**2).flatten()[None]
    # The piston z·k is left out: it changes no intensity and would cost digits.
    defocus = 2 * math.pi * z_px * ((wavenumber**2 - cutoff**2 * rho2).clamp_min(0).sqrt() - wavenumber)
    if not z_px:
        defocus = torch.zeros_like(rho2)
    cdtype = torch.complex128 if dtype == torch.float64 else torch.complex64
    return PupilRule(
        modes.to(device, dtype),
        defocus.to(device, dtype),
        torch.from_numpy(across).to(device, cdtype),
        torch.from_numpy(along).to(device, cdtype),
    )
