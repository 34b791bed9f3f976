"""How close an estimate comes: PSFs in decibels of signal to error, images in PSNR and SSIM.

Every metric takes a batch and returns one float64 number per item, on the CPU. An estimate that holds NaN or infinity
is refused rather than scored: averaged into a table it would hide. Decibels are cut at `CEILING_DB`, so that a perfect
estimate has a finite score.
"""

from collections.abc import Callable

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

CEILING_DB = 200.0


def psf_snr_db(estimate: Tensor, truth: Tensor) -> Tensor:
    """−10·log10(‖ĥ − h‖²/‖h‖²), in dB, at most `CEILING_DB`.

    Not neutral to shifts, and any kernel of the right mass scores something: read it beside the score of the mean PSF.

    Args:
        estimate, truth: (B, 1, h, w) PSFs on the same pixels.
    Returns:
        (B,) float64.
    Raises:
        ValueError: shapes differ, a value is NaN or infinite, or a true PSF is zero.
    """
    estimate, truth = _psfs(estimate, truth)
    return _decibels((estimate - truth).square().sum((-2, -1)), truth.square().sum((-2, -1)))


def registered_psf_snr_db(estimate: Tensor, truth: Tensor) -> Tensor:
    """`psf_snr_db` after the best shift of the estimate, for a blind method cannot know where the image truly lies.

    The estimate, zero outside its pixels, is shifted by Fourier interpolation on a grid of 2h−1 by 2w−1 pixels. The
    shift is the peak of the cross-correlation, which minimises the squared error: first over whole pixels, then around
    the best one to a thousandth of a pixel. Never below `psf_snr_db`.

    Args, returns, raises: as `psf_snr_db`.
    Source: Guizar-Sicairos et al., Optics Letters 33(2), 2008 (refinement by a matrix DFT).
    """
    estimate, truth = _psfs(estimate, truth)
    F, G = _spectrum(estimate), _spectrum(truth)
    aligned = F * _shift_phase(_best_shift_px(F, G), F.shape[-2:])
    error = (aligned - G).abs().square().mean((-2, -1))  # Parseval: the mean over frequencies is the sum over pixels
    return torch.maximum(_decibels(error, truth.square().sum((-2, -1))), psf_snr_db(estimate[:, None], truth[:, None]))


def psf_ncc(estimate: Tensor, truth: Tensor) -> Tensor:
    """Kernel similarity: the greatest normalised cross-correlation ⟨ĥ(· − s), h⟩/(‖ĥ‖‖h‖) over shifts s, at most 1.

    Neutral to shift and scale; zero for an estimate that is zero. Shifts as in `registered_psf_snr_db`.

    Args, returns, raises: as `psf_snr_db`.
    Source: Hu and Yang, ECCV 2012 (there over whole pixels).
    """
    estimate, truth = _psfs(estimate, truth)
    F, G = _spectrum(estimate), _spectrum(truth)
    aligned = F * _shift_phase(_best_shift_px(F, G), F.shape[-2:])
    product = (aligned * G.conj()).real.mean((-2, -1))
    norms = (estimate.square().sum((-2, -1)) * truth.square().sum((-2, -1))).sqrt()
    return torch.where(norms > 0, product / norms.clamp_min(torch.finfo(norms.dtype).tiny), 0.0)


def psnr_db(estimate: Tensor, truth: Tensor, border_px: int = 0) -> Tensor:
    """Peak signal-to-noise ratio as scikit-image computes it, data range 1, in dB, at most `CEILING_DB`.

    Args:
        estimate, truth: (B, C, H, W); values are compared as they are, without clipping.
        border_px: pixels cut off each side first; half a PSF, where the data do not determine the image.
    Returns:
        (B,) float64.
    Raises:
        ValueError: shapes differ, a value is NaN or infinite, or the border leaves nothing.
    """

    def score(true: np.ndarray, estimated: np.ndarray) -> float:
        with np.errstate(divide="ignore"):  # a perfect estimate: infinite, cut below
            return min(float(peak_signal_noise_ratio(true, estimated, data_range=1.0)), CEILING_DB)

    return _per_image(score, estimate, truth, border_px, smallest_px=1)


def ssim(estimate: Tensor, truth: Tensor, border_px: int = 0) -> Tensor:
    """Structural similarity as scikit-image computes it (7×7 uniform window, data range 1), mean over channels.

    Args, returns: as `psnr_db`.
    Raises:
        ValueError: as `psnr_db`, and an image smaller than the window after the cut.
    """

    def score(true: np.ndarray, estimated: np.ndarray) -> float:
        return float(structural_similarity(true, estimated, data_range=1.0, channel_axis=0))

    return _per_image(score, estimate, truth, border_px, smallest_px=7)


def _per_image(
    score: Callable[[np.ndarray, np.ndarray], float], estimate: Tensor, truth: Tensor, border_px: int, smallest_px: int
) -> Tensor:
    """score(true, estimated) of each (C, H, W) image in float64, borders cut."""
    _require_comparable(estimate, truth)
    H, W = truth.shape[-2:]
    if border_px < 0 or min(H, W) - 2 * border_px < smallest_px:
        raise ValueError(
            f"the metric needs at least {smallest_px}x{smallest_px} pixels inside the border; got {H}x{W} with "
            f"border_px={border_px}; use a larger image or a smaller border"
        )
    inside = (..., slice(border_px, H - border_px), slice(border_px, W - border_px))
    pairs = zip(_numpy(truth[inside]), _numpy(estimate[inside]), strict=True)
    return torch.tensor([score(true, estimated) for true, estimated in pairs], dtype=torch.float64)


def _numpy(images: Tensor) -> np.ndarray:
    return images.detach().to("cpu", torch.float64).numpy()


def _psfs(estimate: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (B, h, w) float64 on the CPU, where the FFT agrees with itself on every machine."""
    _require_comparable(estimate, truth)
    if truth.shape[1] != 1:
        raise ValueError(f"PSFs have one channel, (B, 1, h, w); got {tuple(truth.shape)}")
    estimate, truth = (psf.detach().to("cpu", torch.float64)[:, 0] for psf in (estimate, truth))
    if (truth.square().sum((-2, -1)) == 0).any():
        raise ValueError("a true PSF is zero everywhere, so no error can be measured against it; normalise it to sum 1")
    return estimate, truth


def _require_comparable(estimate: Tensor, truth: Tensor) -> None:
    if estimate.shape != truth.shape or truth.ndim != 4:
        raise ValueError(
            f"estimate and truth must both be (B, C, H, W) of one shape; got {tuple(estimate.shape)} and "
            f"{tuple(truth.shape)}; crop or broadcast them first"
        )
    for name, values in (("estimate", estimate), ("truth", truth)):
        bad = ~values.isfinite().flatten(1)
        if bad.any():
            raise ValueError(
                f"the {name} holds {int(bad.sum())} values that are NaN or infinite, first in item "
                f"{int(bad.any(1).nonzero()[0])} of the batch; a diverged result has no score"
            )


def _decibels(error: Tensor, signal: Tensor) -> Tensor:
    floor = 10 ** (-CEILING_DB / 10)
    return -10 * torch.log10((error / signal).clamp_min(floor))


def _spectrum(psf: Tensor) -> Tensor:
    h, w = psf.shape[-2:]
    return torch.fft.fft2(psf, s=(2 * h - 1, 2 * w - 1))


def _shift_phase(shift_px: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, 2) shifts → (B, *size) factors that shift an image to the right and down by them."""
    rows, columns = (_phase(shift_px[:, axis], size[axis]) for axis in (0, 1))
    return rows[:, :, None] * columns[:, None, :]


def _phase(shift_px: Tensor, n: int) -> Tensor:
    """(...) shifts → (..., n) factors of the n frequencies of one axis."""
    return torch.exp(-2j * torch.pi * shift_px[..., None] * torch.fft.fftfreq(n, dtype=shift_px.dtype))


def _best_shift_px(F: Tensor, G: Tensor) -> Tensor:
    """(B, 2) shift of F's image at which its correlation with G's is greatest, to a thousandth of a pixel."""
    N, M = F.shape[-2:]
    cross = F.conj() * G
    peak = torch.fft.ifft2(cross).real.flatten(1).argmax(1)
    best = torch.stack([peak // M, peak % M], dim=1).to(F.real.dtype)
    best = best - torch.tensor([N, M]) * (best > torch.tensor([N, M]) / 2)
    for step in (0.1, 0.01, 0.001):
        offsets = torch.arange(-10, 11, dtype=best.dtype) * step
        rows, columns = (
            torch.exp(
                2j * torch.pi * (best[:, axis, None] + offsets)[..., None] * torch.fft.fftfreq(n, dtype=best.dtype)
            )
            for axis, n in enumerate((N, M))
        )
        peak = (rows @ cross @ columns.mT).real.flatten(1).argmax(1)
        best = best + torch.stack([offsets[peak // 21], offsets[peak % 21]], dim=1)
    return best
