"""Restoration with a known PSF: Wiener, Richardson–Lucy and TV, for one image and any PSF, estimated or true.

Each has one strength. Left out, it follows the noise level by a rule that was fitted on the eleven training and
validation photographs at σ from 0 to 0.15 with the true PSFs of `ZernikeBlur()`, η = 0.15. With contrast = the standard
deviation of the noise-free image, the rules give the same restoration whatever the intensity scale. They stay within
0.5 dB of the best common strength when γ errs by 0.05 waves a mode, but a PSF as wrong as the family's mean one wants
less of a restoration at σ ≤ 0.01, by up to 5 dB: tune the strength there.

The data of a camera are a valid convolution of a larger scene, so none of the three may believe in a torus or in
darkness around the image: Wiener and TV get margins that close the torus smoothly, Richardson–Lucy restores the scene.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from skimage import restoration
from torch import Tensor
from torch.nn.functional import pad

from deepblur.baselines.estimate import check_image
from deepblur.baselines.tv import split_bregman_tv
from deepblur.operators import noise_std_of, pad_for_circular, transfer_function
from deepblur.operators.convolution import Window

_ITERATIONS_MAX = 200
_LEAST_NOISE = 2.5e-3  # of the contrast: what rounding and the unknown surroundings leave uncertain without any noise
_TINY = 1e-6  # of an intensity scale whose white is 1
_LEAST_REACH = 1e-3  # a scene pixel that sends less of its light into the data is not determined by them


@torch.no_grad()
def wiener(
    image: np.ndarray | Tensor,
    psf: np.ndarray | Tensor,
    *,
    balance: float | None = None,
    relative: float = 1.0,
    noise_std: float | None = None,
) -> Tensor:
    """argmin_x ‖h ⋆ x − y‖² + balance·‖Δx‖², Δ the Laplacian: scikit-image's Wiener–Hunt filter.

    Args:
        image: (H, W), the data y, intensity in [0, 1].
        psf: (h, w), odd sides, its middle pixel the origin.
        balance: strength, above 0; default 3·(σ/contrast)^2.25.
        relative: multiplies the strength, to tune it without leaving the rule that follows the noise.
        noise_std: σ in intensity units; default `noise_level(image)`.
    Returns:
        (H, W) on the same pixels, not clipped.
    Raises:
        ValueError: what `check_image` refuses, a PSF that is none or exceeds the image, a strength or σ out of range.
    Source: Hunt, IEEE Trans. Computers C-22(9), 1973; Orieux et al., JOSA A 27(7), 2010.
    """
    known = observe(image, psf, noise_std)
    if balance is None:
        balance = known.balance
    balance = relative * balance
    _require_positive("balance", balance)
    margins = _margins(known.psf)
    padded = pad_for_circular(known.data, margins).cpu().numpy()
    restored = restoration.wiener(padded, known.psf.cpu().numpy(), balance, clip=False)
    return _cut(torch.from_numpy(restored).to(known.data), margins)


@torch.no_grad()
def tv(
    image: np.ndarray | Tensor,
    psf: np.ndarray | Tensor,
    *,
    weight: float | None = None,
    relative: float = 1.0,
    noise_std: float | None = None,
    iterations: int = 20,
    penalty: float | None = None,
) -> Tensor:
    """argmin_x TV(x) + weight/2·‖h ⋆ x − y‖² by split Bregman; see `split_bregman_tv`.

    Args:
        image: (H, W), the data y, intensity in [0, 1].
        psf: (h, w), odd sides, its middle pixel the origin.
        weight: strength, above 0, of the data; default 3.6·contrast^0.5·σ^−1.5 (1600 at σ = 0.01, contrast 0.2).
        relative: multiplies the strength, to tune it without leaving the rule that follows the noise.
        noise_std: σ in intensity units; default `noise_level(image)`.
        iterations: of split Bregman.
        penalty: of the splitting; default (2·weight/contrast)^0.5. It changes the speed alone, but a few iterations
            show it: give that of the whole image with a part of it.
    Returns:
        (H, W) on the same pixels, not clipped.
    Raises:
        ValueError: as `wiener`.
    Source: Goldstein and Osher, SIAM J. Imaging Sci. 2(2), 2009.
    """
    known = observe(image, psf, noise_std)
    if weight is None:
        weight = known.weight
    weight = relative * weight
    _require_positive("weight", weight)
    margins = _margins(known.psf)
    if penalty is None:
        penalty = known.penalty(weight)
    padded = pad_for_circular(known.data, margins)[None]  # scikit-image has TV for denoising only
    restored = split_bregman_tv(padded, known.psf[None], weight=weight, iterations=iterations, penalty=penalty)
    return _cut(restored[0], margins)


@torch.no_grad()
def richardson_lucy(
    image: np.ndarray | Tensor,
    psf: np.ndarray | Tensor,
    *,
    iterations: int | None = None,
    relative: float = 1.0,
    noise_std: float | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Maximum likelihood under Poisson noise, stopped early, from a flat start.

    Unlike scikit-image's, which takes the surroundings for black and brightens the border to make up for it, this one
    restores the whole scene that the data see and returns its middle. Negative data and negative PSF values count as 0.

    Args:
        image: (H, W), the data y, intensity in [0, 1].
        psf: (h, w), odd sides, its middle pixel the origin.
        iterations: strength, at least 1; default 1.5·contrast/σ, at most 200.
        relative: multiplies the strength, to tune it without leaving the rule that follows the noise.
        noise_std: σ in intensity units; default `noise_level(image)`.
        start: (H, W), what another restorer made, to go on from; its values below a hundredth of σ are raised to it,
            for a dark pixel stays dark.
    Returns:
        (H, W) on the same pixels, not negative.
    Raises:
        ValueError: as `wiener`, or no pixel is above 0.
    Source: Richardson, JOSA 62(1), 1972; Lucy, Astron. J. 79, 1974; Bertero and Boccacci, Astron. Astrophys. 437, 2005,
        for the border.
    """
    known = observe(image, psf, noise_std)
    if iterations is None:
        iterations = known.stop
    iterations = max(round(relative * iterations), min(iterations, 1))
    (H, W), (h, w) = known.data.shape, known.psf.shape
    window = Window("valid", (H + h - 1, W + w - 1), (h, w))
    otf = transfer_function(known.psf.clamp(min=0), window.torus)

    def forward(x: Tensor) -> Tensor:
        return window.cut(torch.fft.irfft2(otf * torch.fft.rfft2(x, s=window.torus), s=window.torus))

    def adjoint(y: Tensor) -> Tensor:
        Y = torch.fft.rfft2(window.cut_adjoint(y), s=window.torus)
        return window.spread_adjoint(torch.fft.irfft2(otf.conj() * Y, s=window.torus))

    if start is not None:
        least = max(0.01 * known.noise * known.contrast, _TINY)
        start = pad(start.to(known.data)[None, None], (w // 2, w // 2, h // 2, h // 2), mode="replicate")[0, 0]
        start = start.clamp(min=least)
    return _cut(maximize_likelihood(known.data, forward, adjoint, iterations=iterations, start=start), (h // 2, w // 2))


RESTORERS: dict[str, Callable[..., Tensor]] = {"wiener": wiener, "richardson_lucy": richardson_lucy, "tv": tv}
"""Name → restorer: RESTORERS[name](image, psf, noise_std=None) → (H, W)."""


def maximize_likelihood(
    data: Tensor,
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    *,
    iterations: int,
    start: Tensor | None = None,
) -> Tensor:
    """Richardson–Lucy, x ← x/Aᵀ1 · Aᵀ(y/Ax), for any linear A without negative entries, from a flat x.

    Each iteration raises the Poisson likelihood Σ y·log Ax − Ax and keeps x ≥ 0 and, but for the corners of the scene
    that the data hardly see and that stay as they are, Σ Ax = Σ y.

    Args:
        data: (H, W), y; negative values count as 0.
        forward, adjoint: A, from scenes to the shape of data, and its transpose.
        start: a scene above 0 in the place of the flat one.
    Raises:
        ValueError: iterations is below 1, or no value of data is above 0.
    """
    if iterations < 1:
        raise ValueError(f"Richardson–Lucy takes at least one iteration; got iterations={iterations}")
    data = data.clamp(min=0)
    light = float(data.mean())
    if not light > 0:
        raise ValueError("Richardson–Lucy counts light, and no pixel is above 0; subtract a lower dark level")
    dark = 1e-6 * light  # FFT rounding may turn a dark Ax negative
    reach = adjoint(torch.ones_like(data))
    seen = reach > _LEAST_REACH
    x = torch.full_like(reach, light) if start is None else start
    for _ in range(iterations):
        ratio = adjoint(data / forward(x).clamp(min=dark)).clamp(min=0) / reach
        x = torch.where(seen, x * ratio, x)
    return x


def noise_level(image: np.ndarray | Tensor) -> float:
    """σ of the noise in one image: `noise_std_of`, for arrays too.

    Within 10 % on blurred photographs from σ = 0.005 on.

    Args:
        image: (H, W), intensity in [0, 1].
    Returns:
        σ, in intensity units.
    Raises:
        ValueError: what `check_image` refuses.
    """
    return float(noise_std_of(check_image(image)))


class Observation(NamedTuple):
    """Data and PSF in one dtype, and what the default strengths follow."""

    data: Tensor  # (H, W)
    psf: Tensor  # (h, w)
    contrast: float  # standard deviation of the image without its noise
    noise: float  # standard deviation of the noise, in units of the contrast

    @property
    def balance(self) -> float:
        """Strength of the Wiener filter."""
        return 3 * self.noise**2.25

    @property
    def weight(self) -> float:
        """Weight of the data in TV."""
        return 3.6 * self.noise**-1.5 / self.contrast

    def penalty(self, weight: float) -> float:
        """Of TV's splitting. Shrinking by this share of the contrast converges at every noise level, where a fixed
        penalty of 400 loses 5 dB at σ = 0.1."""
        return (2 * weight / self.contrast) ** 0.5

    @property
    def stop(self) -> int:
        """Iteration at which Richardson–Lucy has restored more of the image than of the noise."""
        return max(1, min(round(1.5 / self.noise), _ITERATIONS_MAX))


def observe(image: np.ndarray | Tensor, psf: np.ndarray | Tensor, noise_std: float | None) -> Observation:
    """Checks what every restorer takes; arguments and errors as `wiener`."""
    kernel = torch.as_tensor(psf)
    if kernel.ndim != 2 or not kernel.is_floating_point() or not torch.isfinite(kernel).all() or not kernel.sum() > 0:
        raise ValueError(
            f"a PSF is a finite floating-point tensor (h, w) of positive sum; got {tuple(kernel.shape)} of "
            f"{kernel.dtype} with sum {float(kernel.sum()):g}; normalise it to sum 1"
        )
    data = check_image(image)
    h, w = kernel.shape
    if h % 2 == 0 or w % 2 == 0 or h > data.shape[0] or w > data.shape[1]:
        raise ValueError(
            f"a PSF has odd sides and is not larger than the image; got {h}x{w} for {data.shape[0]}x{data.shape[1]} "
            "pixels; crop the PSF or pad it by one pixel"
        )
    if noise_std is None:
        noise_std = float(noise_std_of(data))
    if not noise_std >= 0:
        raise ValueError(f"noise_std is a standard deviation and at least 0; got {noise_std}; None estimates it")
    variance = float(data.var())
    contrast = max(variance - noise_std**2, 0.01 * variance) ** 0.5
    return Observation(data, kernel.to(data), contrast, max(noise_std / contrast, _LEAST_NOISE))


def _margins(psf: Tensor) -> tuple[int, int]:
    return psf.shape[0] // 2 + 1, psf.shape[1] // 2 + 1


def _cut(x: Tensor, margins: tuple[int, int]) -> Tensor:
    (rows, columns), (H, W) = margins, x.shape
    return x[rows : H - rows, columns : W - columns]


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive; got {value}; None lets it follow the noise")
