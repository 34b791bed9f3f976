"""What a restoration leaves unexplained: the re-blurred image against the data, and whether the rest is mere noise.

The only judgement of an estimate that needs no ground truth. Necessary, not sufficient: a residual as white as noise
says that PSF and image explain the data together, not that either is right (a Dirac and the data themselves do). It
tells PSFs apart at low noise (σ = 0.01, photographs, Richardson–Lucy: 0.03 with the true PSF, 0.16 with the mean one)
and hardly any more at σ = 0.05 and above.
"""

import torch
from torch import Tensor

from deepblur.operators import transfer_function
from deepblur.operators.convolution import Window, full_precision


def reblur(image: Tensor, psf: Tensor) -> Tensor:
    """h ⋆ x̂ on the pixels of x̂, whose edges go on forever.

    The scene beyond the edge is unknown, so within half a PSF of the border the result is a guess: cut it off before
    judging the residual.

    Args:
        image: (..., H, W), a restored image.
        psf: (..., h, w), odd sides, its middle pixel the origin; leading axes broadcast with the image's.
    Returns:
        (..., H, W).
    Raises:
        ValueError: the PSF has an even side.
    """
    image = full_precision(image)
    window = Window("replicate", (image.shape[-2], image.shape[-1]), (psf.shape[-2], psf.shape[-1]))
    otf = transfer_function(psf.to(image), window.torus)
    return window.cut(torch.fft.irfft2(otf * torch.fft.rfft2(window.spread(image), s=window.torus), s=window.torus))


def whiteness(residual: Tensor, *, reach_px: int = 5) -> Tensor:
    """The typical correlation of neighbouring pixels: 0 for white noise in the mean, near 1 for a smooth residual.

    ±√|w|, w = (mean ρ(d)² − 1/n)/(1 − 1/n) over the lags d with 1 ≤ |d|∞ ≤ reach, with the sign of w; ρ is the circular
    autocorrelation, ρ(0) = 1, of the residual less its mean, n = H·W. Under white noise n·ρ(d)² follows χ²₁, so that w
    has mean 0 and standard deviation s = 2/(n√m), m = (2·reach + 1)² − 1 lags (which count in pairs ±d), and the result
    has mean 0 and standard deviation √(0.8·s): 0.0015 for 256² pixels and reach 5. Noise whose variance follows a
    smooth signal adds at most a few 1/n to w.

    Args:
        residual: (B, H, W), data less re-blurred image, borders of half a PSF cut.
        reach_px: the largest lag in each direction.
    Returns:
        (B,), at most 1; 0 where the residual is constant, which leaves nothing unexplained but an offset.
    Raises:
        ValueError: residual is not (B, H, W), reach_px is below 1, or the residual has not more than 2·reach_px pixels
            a side.
    Source: a portmanteau statistic, Box and Pierce, JASA 65, 1970; for deconvolution Lanza et al., Electronic
        Transactions on Numerical Analysis 53, 2020.
    """
    if residual.ndim != 3:
        raise ValueError(f"whiteness takes residuals (B, H, W); got {tuple(residual.shape)}; add the batch axis")
    H, W = residual.shape[-2:]
    if reach_px < 1 or min(H, W) <= 2 * reach_px:
        raise ValueError(
            f"reach_px is at least 1 and below half the residual's sides; got {reach_px} for {H}x{W} pixels; "
            "lower it or take a larger residual"
        )
    centred = full_precision(residual)
    centred = centred - centred.mean((-2, -1), keepdim=True)
    power = torch.fft.rfft2(centred).abs().square()
    correlation = torch.fft.irfft2(power, s=(H, W))
    variance = correlation[:, 0, 0]
    near = torch.arange(-reach_px, reach_px + 1, device=residual.device)
    squares = correlation[:, near[:, None], near].square().sum((-2, -1)) - variance.square()
    lags, null = len(near) ** 2 - 1, 1 / (H * W)
    constant = variance <= (10 * torch.finfo(centred.dtype).eps) ** 2 * residual.square().sum((-2, -1))
    mean = squares / (lags * torch.where(constant, 1, variance).square())
    excess = torch.where(constant, 0, (mean - null) / (1 - null))
    return excess.sign() * excess.abs().sqrt()
