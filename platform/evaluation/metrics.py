"""How close an estimate comes: PSFs in decibels of signal to error, images in PSNR and SSIM.

Every metric takes a batch and returns one float64 number per item, on the CPU. An estimate that holds NaN or infinity
is refused rather than scored: averaged into a table it would hide. Decibels are cut at `CEILING_DB`, so that a perfect
estimate has a finite score.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from deepblur.operators.pupil import NYQUIST

CEILING_DB = 200.0
SSIM_WINDOW_PX = 7
BLOCK_PX = 2**18  # of the images scored at once: temporaries that leave the cache cost more than a short loop


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


def otf_error(estimate: Tensor, truth: Tensor, cutoff: float) -> Tensor:
    """Relative error of the transfer function where the microscope transmits, (Σ|Ĥ − H|² / Σ|H|²)^½ over |f| ≤ 2·f_c.

    The transfer functions are those of the PSFs with zeros around them, on a grid of 2h−1 by 2w−1 frequencies: as fine
    as |H|² needs, for the autocorrelation of a PSF has that many lags. 0 is perfect, 1 is what an estimate of zero has.
    Over all frequencies it would be `psf_snr_db`, by Parseval; like that, it is not neutral to shifts.

    Args:
        estimate, truth: (B, 1, h, w) PSFs on the same pixels.
        cutoff: pupil radius f_c = NA/λ in cycles per pixel; incoherent light passes up to twice that.
    Returns:
        (B,) float64.
    Raises:
        ValueError: as `psf_snr_db`, and a cutoff outside (0, 0.25].
    Source: Goodman, Introduction to Fourier Optics, 3rd ed., 2005, section 6.3 (the passband).
    """
    estimate, truth = _psfs(estimate, truth)
    if not 0 < cutoff <= NYQUIST:
        raise ValueError(f"the cutoff lies in (0, {NYQUIST}] cycles per pixel; got {cutoff:.4g}; give NA/λ·pixel size")
    F, G = _spectrum(estimate), _spectrum(truth)
    frequencies = (torch.fft.fftfreq(n, dtype=truth.dtype) for n in F.shape[-2:])
    passed = torch.hypot(*torch.meshgrid(*frequencies, indexing="ij")) <= 2 * cutoff
    return (_power(F - G, passed) / _power(G, passed)).sqrt()


def wavefront_error_waves(estimate: Tensor, truth: Tensor, twin: Tensor) -> Tensor:
    """Root mean square over the pupil of the difference of two wavefronts, in waves: ‖γ̂ − γ‖, for Noll's modes are
    orthonormal there. Of the truth and its twin, which no image tells apart, the nearer one counts.

    Args:
        estimate, truth, twin: (B, K), in waves; the twin is `Blur.twin` of the truth.
    Returns:
        (B,) float64.
    Raises:
        ValueError: a value is NaN or infinite, or shapes differ.
    Source: Noll, JOSA 66(3), 1976. Maréchal's criterion calls a lens ideal up to 1/14 wave.
    """
    estimate, *truths = (gamma.detach().to("cpu", torch.float64) for gamma in (estimate, truth, twin))
    for gamma in truths:
        _require_comparable(*(part[:, None, None] for part in (estimate, gamma)))
    return torch.stack([(estimate - gamma).norm(dim=1) for gamma in truths]).amin(0)


def psnr_db(estimate: Tensor, truth: Tensor, border_px: int = 0) -> Tensor:
    """Peak signal-to-noise ratio −10·log10(mean squared error), data range 1, in dB, at most `CEILING_DB`.

    Equal to scikit-image's `peak_signal_noise_ratio` in float64.

    Args:
        estimate, truth: (B, C, H, W); values are compared as they are, without clipping.
        border_px: pixels cut off each side first; half a PSF, where the data do not determine the image.
    Returns:
        (B,) float64.
    Raises:
        ValueError: shapes differ, a value is NaN or infinite, or the border leaves nothing.
    """

    def score(x: Tensor, y: Tensor) -> Tensor:
        error = (x - y).square().flatten(1).mean(1)
        return _decibels(error, torch.ones_like(error))

    return _in_blocks(score, estimate, truth, border_px, smallest_px=1)


def ssim(estimate: Tensor, truth: Tensor, border_px: int = 0) -> Tensor:
    """Structural similarity, data range 1: the mean over all 7×7 windows that fit into the image, and over channels.

    Equal to scikit-image's `structural_similarity` in float64 (uniform window, unbiased variances, K1 = 0.01 and
    K2 = 0.03), which leaves out the windows that reach over the edge too.

    Args, returns: as `psnr_db`.
    Raises:
        ValueError: as `psnr_db`, and an image smaller than the window after the cut.
    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004, section III.B.
    """
    return _in_blocks(_similarity, estimate, truth, border_px, smallest_px=SSIM_WINDOW_PX)


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    product, power = mean_x * mean_y, mean_x.square() + mean_y.square()
    unbiased = SSIM_WINDOW_PX**2 / (SSIM_WINDOW_PX**2 - 1)
    covariance = unbiased * (_window_mean(x * y) - product)
    variances = unbiased * (_window_mean(x.square() + y.square()) - power)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * product + c1) * (2 * covariance + c2) / ((power + c1) * (variances + c2))
    return similarity.flatten(1).mean(1)


def _window_mean(x: Tensor) -> Tensor:
    """Means of the 7×7 windows, (..., H, W) → (..., H − 6, W − 6), by sums of 2, 4 and then 7 pixels along an axis."""
    for axis in (-2, -1):
        n = x.shape[axis] - SSIM_WINDOW_PX + 1
        two = x.narrow(axis, 0, n + 4) + x.narrow(axis, 1, n + 4)
        x = two.narrow(axis, 0, n) + two.narrow(axis, 2, n) + two.narrow(axis, 4, n) + x.narrow(axis, 6, n)
    return x / SSIM_WINDOW_PX**2


def _in_blocks(
    score: Callable[[Tensor, Tensor], Tensor], estimate: Tensor, truth: Tensor, border_px: int, smallest_px: int
) -> Tensor:
    """score(estimate, truth) → (B,) of the images in float64, borders cut, on the estimate's device."""
    _require_comparable(estimate, truth)
    C, H, W = truth.shape[1:]
    if border_px < 0 or min(H, W) - 2 * border_px < smallest_px:
        raise ValueError(
            f"the metric needs at least {smallest_px}x{smallest_px} pixels inside the border; got {H}x{W} with "
            f"border_px={border_px}; use a larger image or a smaller border"
        )
    inside = (..., slice(border_px, H - border_px), slice(border_px, W - border_px))
    block = max(BLOCK_PX // (C * H * W), 1)
    pairs = zip(
        estimate.detach()[inside].split(block), truth.detach()[inside].to(estimate.device).split(block), strict=True
    )
    return torch.cat([score(x.double(), y.double()) for x, y in pairs]).cpu()


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
        if values.sum(dtype=torch.float64).isfinite():  # a bad value makes the sum bad, and a sum costs a tenth
            continue
        bad = ~values.isfinite().flatten(1)
        if bad.any():
            raise ValueError(
                f"the {name} holds {int(bad.sum())} values that are NaN or infinite, first in item "
                f"{int(bad.any(1).nonzero()[0])} of the batch; a diverged result has no score"
            )


def _decibels(error: Tensor, signal: Tensor) -> Tensor:
    floor = 10 ** (-CEILING_DB / 10)
    return -10 * torch.log10((error / signal).clamp_min(floor))


def _power(F: Tensor, passed: Tensor) -> Tensor:
    return (F.abs().square() * passed).sum((-2, -1))


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
