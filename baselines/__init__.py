"""The rivals: published and training-free methods of blind deblurring, and non-blind restoration with any PSF.

Every blind method takes one blurry image first, and `psf_size` and `seed` where they matter, and returns an `Estimate`.
"""

from collections.abc import Callable

from deepblur.baselines.estimate import DivergedError, Estimate, check_image
from deepblur.baselines.goldstein_fattal import goldstein_fattal
from deepblur.baselines.l0_gradient import l0_gradient
from deepblur.baselines.nonblind import RESTORERS, noise_level, richardson_lucy, tv, wiener
from deepblur.baselines.patchwise import patchwise
from deepblur.baselines.residual import reblur, whiteness
from deepblur.baselines.spectral import spectral
from deepblur.baselines.spectral_identifier import SpectralIdentifier

METHODS: dict[str, Callable[..., Estimate]] = {
    "goldstein_fattal": goldstein_fattal,
    "l0_gradient": l0_gradient,
    "spectral": spectral,
}
"""Name → blind method that needs no training: METHODS[name](image, psf_size=31, seed=0) → Estimate."""

__all__ = [
    "METHODS",
    "RESTORERS",
    "DivergedError",
    "Estimate",
    "SpectralIdentifier",
    "check_image",
    "goldstein_fattal",
    "l0_gradient",
    "noise_level",
    "patchwise",
    "reblur",
    "richardson_lucy",
    "spectral",
    "tv",
    "whiteness",
    "wiener",
]
