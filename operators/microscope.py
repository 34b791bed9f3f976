"""A virtual wide-field microscope whose aberrations change over the field: the known truth for calibrations.

The wavefront at a place (u, v) of the field, in waves, is that of classical optics: astigmatism and field curvature
grow with the square of the distance from the axis, coma with the distance, and both turn with the direction; a tilted
cover glass adds a defocus that is linear in (u, v); a mismatch of refractive indices adds what depth brings; and every
state has constant aberrations of its own. Defocus is that of a high aperture, z √(n² − NA²ρ²)/λ, as a sum of radial
Zernike modes, so that one `ZernikeBlur` makes every PSF.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from deepblur.operators.pupil import NYQUIST, ZernikeBlur
from deepblur.operators.zernike import zernike

RADIAL = (4, 11, 22, 37, 56)
"""Modes without an angle: defocus and spherical aberrations; they carry an NA of 1.49 to 0.01 waves per µm."""
FIELD = (5, 6, 7, 8, 9, 10)


@lru_cache(maxsize=1)
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(200)


@dataclass(frozen=True)
class MicroscopeState:
    """What changes from one stack of images to the next: focus, the slide and the day.

    Raises:
        ValueError: a negative depth, or another number of constant aberrations.
    """

    focus_um: float = 0.0
    """Displacement of the stage from the plane of the beads, micrometres."""
    tilt_um: tuple[float, float] = (0.0, 0.0)
    """Defocus that the tilt of the cover glass adds at the bottom and at the right edge, micrometres."""
    depth_um: float = 0.0
    """Depth in the mounting medium, micrometres, at least 0."""
    constant: tuple[float, ...] = (0.0,) * len(FIELD)
    """Aberrations that are the same all over the field: Noll 5 to 10, in waves."""

    def __post_init__(self) -> None:
        if self.depth_um < 0 or len(self.constant) != len(FIELD):
            raise ValueError(
                f"a state has a depth of at least 0 and {len(FIELD)} constant aberrations; got {self.depth_um} and "
                f"{self.constant}"
            )


@dataclass(frozen=True)
class Microscope:
    """The lens and the camera. Positions in the field are (v, u), rows and columns, each from −1 to 1.

    Raises:
        ValueError: what `ZernikeBlur.from_optics` refuses.
    """

    na: float = 1.49
    """Numerical aperture."""
    wavelength_um: float = 0.6
    """Of the light in vacuum, micrometres."""
    pixel_um: float = 0.065
    """Of the camera, in the object, micrometres: 6.5 µm at a magnification of 100."""
    immersion_index: float = 1.515
    """Refractive index between lens and slide."""
    medium_index: float = 1.47
    """Of what the beads lie in."""
    psf_size: int = 31
    """Side of the PSFs, in pixels, odd."""
    astigmatism_waves: float = 0.08
    """In the corner of the field."""
    coma_waves: float = 0.06
    """In the corner of the field."""
    curvature_um: float = 0.15
    """Defocus in the corner of the field, micrometres."""
    vignetting: float = 0.3
    """Fraction of the light that is lost in the corner of the field."""

    def __post_init__(self) -> None:
        if self.operator.coarse:
            raise ValueError(
                f"pixels of {self.pixel_um} µm are too coarse for NA {self.na} at {self.wavelength_um} µm: beads are "
                f"measured up to {NYQUIST} cycles per pixel; got {self.operator.cutoff:.3g}; take smaller pixels"
            )

    @cached_property
    def operator(self) -> ZernikeBlur:
        """The family that all PSFs of this microscope belong to."""
        plain = ZernikeBlur.from_optics(
            na=self.na,
            wavelength_um=self.wavelength_um,
            pixel_um=self.pixel_um,
            refractive_index=self.immersion_index,
            noll=(*FIELD, *RADIAL),
            psf_size=self.psf_size,
        )
        return ZernikeBlur(plain.noll, plain.cutoff, plain.psf_size, pupil_size=plain.nodes + 24)  # for a few waves

    def gamma(self, at: Tensor, state: MicroscopeState) -> Tensor:
        """(N, 11): the wavefront at places (N, 2) of the field, in waves, in the order of `operator.noll`."""
        v, u = at.double().unbind(1)
        r2 = (u**2 + v**2) / 2  # 1 in the corner
        constant = torch.tensor(state.constant, dtype=torch.float64)
        field = torch.stack([
            self.astigmatism_waves * u * v,  # r² sin 2φ
            self.astigmatism_waves * (u**2 - v**2) / 2,  # r² cos 2φ
            self.coma_waves * v / math.sqrt(2),
            self.coma_waves * u / math.sqrt(2),
            torch.zeros_like(u),
            torch.zeros_like(u),
        ], dim=1)  # fmt: skip
        z_um = state.focus_um + state.tilt_um[0] * v + state.tilt_um[1] * u + self.curvature_um * r2
        radial = z_um[:, None] * self._defocus(self.immersion_index)
        mismatch = state.depth_um * (self._defocus(self.medium_index) - self._defocus(self.immersion_index))
        return torch.cat([field + constant, radial + mismatch], dim=1)

    def psf(self, at: Tensor, state: MicroscopeState) -> Tensor:
        """The PSFs at places of the field.

        Args:
            at: (N, 2), rows and columns, each from −1 to 1.
            state: focus, slide and day.
        Returns:
            (N, 1, h, w) float64; the sum of each is the light that arrives, 1 on the axis.
        """
        gamma = self.gamma(at, state)
        blur = torch.cat([self.operator.psf(g) * (1 - self.operator.outside_energy(g))[:, None, None, None]
                          for g in gamma.split(256)])  # fmt: skip
        light = 1 - self.vignetting * at.double().square().sum(1) / 2
        return light[:, None, None, None] * blur

    def _defocus(self, index: float) -> Tensor:
        """(5,) waves of each radial mode per micrometre in a medium; what is beyond its critical angle stays there."""
        nodes, weights = _gauss()
        rho = torch.from_numpy(np.sqrt((nodes + 1) / 2))  # uniform in ρ², which is uniform over the disc
        path = (index**2 - (self.na * rho) ** 2).clamp_min(0).sqrt() / self.wavelength_um
        modes = zernike(RADIAL, rho, torch.zeros_like(rho))
        return (modes * path * torch.from_numpy(weights / 2)).sum(1)
