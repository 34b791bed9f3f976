"""Goldstein–Fattal: the PSF from the irregularities that it leaves in the power spectrum of a photograph.

The autocorrelations of whitened projections give the PSF's power spectrum; phase retrieval gives the PSF; the sharpest
restoration picks the try and tells it from its mirror image; total variation restores the photograph.
Source: A. Goldstein and R. Fattal, "Blur-kernel estimation from spectral irregularities", ECCV 2012; settings and
details from J. Anger, G. Facciolo and M. Delbracio, Image Processing On Line 8, 2018, 282–304.
"""

import math
import time

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import pad

from deepblur.baselines.estimate import DivergedError, Estimate, check_image
from deepblur.baselines.phase_retrieval import random_starts, retrieve_phase
from deepblur.baselines.tv import edge_taper, split_bregman_tv
from deepblur.baselines.whitening import (
    autocorrelation,
    compensate,
    primitive_directions,
    project,
    whitened_projections,
)

_SLOPE = 20 / 700  # bins by which the support may widen from one direction to the next
_BATCH = 10  # tries that run together; their tensors still fit a processor's cache


def goldstein_fattal(
    image: np.ndarray | Tensor,
    psf_size: int = 31,
    seed: int = 0,
    *,
    seconds: float | None = None,
    alpha: float = 2.1,
    outer: int = 3,
    inner: int = 300,
    tries: int = 30,
    tv_weight: float = 3000.0,
    median: bool = True,
) -> Estimate:
    """Blind deblurring by the Goldstein–Fattal method. The defaults are the published settings.

    Args:
        image: (H, W) intensity in [0, 1], sides above 2·psf_size + 8 pixels (better 6·psf_size + 8).
        psf_size: odd side of the PSF's support, in pixels.
        seed: of the scoring window and the random phases.
        seconds: rough time budget; tries that it leaves no time for are left out, which makes the result depend on the
            machine. None runs them all.
        alpha: exponent of the decaying filter that the autocorrelations are deconvolved by, at least 0.
        outer: rounds of support → power spectrum → phase retrieval.
        inner: iterations of a phase retrieval.
        tries: random phases per round.
        tv_weight: weight of the data against total variation, for an image whose maximum is 1.
        median: smooth the autocorrelations over neighbouring directions.
    Returns:
        Estimate with image and psf.
    Raises:
        ValueError: bad input (see check_image), an image too small for psf_size, or a setting out of range.
        DivergedError: no try found a kernel.
    """
    y = check_image(image, psf_size)
    _check_settings(y, psf_size, seconds, alpha, outer, inner, tries, tv_weight)
    start = time.perf_counter()
    scale = y.max()
    y = y / scale
    rng = torch.Generator().manual_seed(seed)
    patch = _patch_to_score(y, rng)
    largest = 2 * psf_size
    directions = primitive_directions(largest)
    rows = compensate(autocorrelation(*whitened_projections(y, directions), largest), alpha)
    support = first_support(rows)
    for k in range(outer):
        modulus = spread(power_spectrum(rows, support, median), directions).sqrt()
        starts = random_starts(modulus, tries, rng)
        until = math.inf if seconds is None else start + seconds * (k + 1) / (outer + 1)
        psf = _best_kernel(modulus, psf_size, starts, inner, patch, tv_weight, until)
        support = support_of(psf, directions)
    restored = _restore(y[None], psf[None], tv_weight, iterations=20)[0].clamp(0, 1)
    return Estimate(image=restored * scale, psf=psf)


def first_support(rows: Tensor) -> Tensor:
    """(A,) int64: half widths of the PSF's autocorrelations, where each row (A, L + 1) of autocorrelations is least.

    A minimum beyond what its neighbours on the circle of directions allow, `_SLOPE` bins per step, is cut to that.
    """
    A = len(rows)
    slope = _SLOPE * torch.arange(3 * A, dtype=torch.float64, device=rows.device)
    bound = rows.argmin(1).double().repeat(3)
    bound = (bound - slope).cummin(0).values + slope
    bound = ((bound.flip(0) - slope).cummin(0).values + slope).flip(0)
    return bound[A : 2 * A].sub(1e-9).ceil().long()  # the sums' rounding errors must not push an integer up


def support_of(psf: Tensor, directions: np.ndarray) -> Tensor:
    """(A,) int64: the first lag at which the autocorrelation of the kernel's projection is below 5 % of its maximum."""
    sums, _ = project(psf, directions)
    n = 2 * sums.shape[1]
    rows = torch.fft.irfft(torch.fft.rfft(sums, n).abs().square(), n)[:, : sums.shape[1]]
    return (rows < 0.05 * rows[:, :1]).int().argmax(1)


def power_spectrum(rows: Tensor, support: Tensor, median: bool = True) -> Tensor:
    """(A, L + 1): |ĥ|² at bins 0 … L of a DFT of 2L + 1 points, along each direction; 1 at bin 0.

    Args:
        rows: (A, L + 1), autocorrelations at lags 0 … L.
        support: (A,) int64, the lag of each row's zero level.
        median: smooth over neighbouring directions.
    """
    lags = torch.arange(rows.shape[1], device=rows.device)
    rows = (rows - rows.gather(1, support[:, None])).clamp_min(0) * (lags <= support[:, None])
    both = torch.where(lags == 0, 1.0, 2.0).to(rows)
    rows = rows / (rows @ both).clamp_min(torch.finfo(rows.dtype).tiny)[:, None]
    if median:
        rows = _circular_median(rows, round(2 * math.sqrt(len(rows))))
    angle = 2 * math.pi / (2 * len(lags) - 1) * (lags[:, None] * lags).to(torch.float64)
    power = (rows @ (both[:, None] * angle.cos().to(rows))).abs()
    return power / power[:, :1].clamp_min(torch.finfo(rows.dtype).tiny)


def spread(power: Tensor, directions: np.ndarray) -> Tensor:
    """Put the samples of every direction on the grid of frequencies, in the layout of rfft2.

    Frequency (u, v) is a multiple of exactly one direction (a, b), and lies in its bin max(|u|, |v|).

    Args:
        power: (A, L + 1), as from `power_spectrum`.
        directions: (A, 2), all of primitive_directions(L).
    Returns:
        (2L + 1, L + 1), 1 at frequency zero.
    """
    largest = power.shape[1] - 1
    table = np.zeros((largest + 1, 2 * largest + 1), np.int64)
    table[directions[:, 0], directions[:, 1]] = np.arange(len(directions))  # b < 0 counts from the end
    u, v = np.arange(largest + 1)[None], np.r_[0 : largest + 1, -largest:0][:, None]
    divisor = np.maximum(np.gcd(u, v), 1)
    a, b = u // divisor, v // divisor
    b = np.where(a == 0, np.abs(b), b)  # (0, −1) is (0, 1)
    bins = np.maximum(np.abs(u), np.abs(v))
    grid = power[torch.from_numpy(table[a, b]).to(power.device), torch.from_numpy(bins).to(power.device)]
    grid[0, 0] = 1
    return grid


def _circular_median(rows: Tensor, width: int) -> Tensor:
    """Median of each column over `width` neighbouring rows (one more if even), the last row followed by the first."""
    radius = width // 2
    around = torch.cat([rows[len(rows) - radius :], rows, rows[:radius]])
    return torch.stack([column.unfold(0, 2 * radius + 1, 1).median(-1).values for column in around.T.contiguous()], 1)


def _best_kernel(
    modulus: Tensor, psf_size: int, starts: Tensor, inner: int, patch: Tensor, tv_weight: float, until: float
) -> Tensor:
    """(psf_size, psf_size): among all tries and their mirror images, the one that restores the sharpest patch."""
    kernels, scores = [], []
    for some in starts.split(_BATCH):
        found = retrieve_phase(modulus, psf_size, some, inner)
        found = found[found.sum((-2, -1)) > 0]
        if len(found):
            found = torch.cat([found, found.flip((-2, -1))])
            kernels.append(found)
            scores.append(_blurriness(patch, found, tv_weight))
        if time.perf_counter() > until:
            break
    if not kernels:
        raise DivergedError(
            f"none of {len(starts)} phase retrievals found a kernel on {psf_size}x{psf_size} pixels; "
            "take a smaller psf_size or more tries"
        )
    return torch.cat(kernels)[torch.cat(scores).argmin()]


def _blurriness(patch: Tensor, kernels: Tensor, tv_weight: float) -> Tensor:
    """(B,): ‖∇u‖₁ / ‖∇u‖₂ of the patch restored with each kernel; the fewer and steeper its edges, the less."""
    u = _restore(patch[None], kernels, tv_weight, iterations=10)
    gradients = torch.cat([u.diff(dim=-2).flatten(1), u.diff(dim=-1).flatten(1)], 1)
    return gradients.abs().sum(1) / gradients.norm(dim=1).clamp_min(torch.finfo(u.dtype).tiny)


def _restore(images: Tensor, kernels: Tensor, tv_weight: float, iterations: int) -> Tensor:
    """TV deconvolution inside a replicated, tapered frame at least as wide as the kernel: (B, H, W)."""
    H, W = images.shape[-2:]
    frame = kernels.shape[-1]
    more_h, more_w = (next_fast_len(n + 2 * frame, real=True) - n - frame for n in (H, W))
    framed = pad(images[None], (frame, more_w, frame, more_h), mode="replicate")[0]
    tapered = edge_taper(framed, kernels, times=4)
    u = split_bregman_tv(tapered, kernels, weight=tv_weight, iterations=iterations, penalty=400.0)
    return u[..., frame : frame + H, frame : frame + W]


def _patch_to_score(y: Tensor, rng: torch.Generator) -> Tensor:
    """Of 100 random windows of 150 × 150 pixels (of all pixels, where there are fewer) the one of highest variance."""
    h, w = (min(150, n) for n in y.shape)
    tops = torch.randint(y.shape[0] - h + 1, (100,), generator=rng).tolist()
    lefts = torch.randint(y.shape[1] - w + 1, (100,), generator=rng).tolist()
    windows = [y[top : top + h, left : left + w] for top, left in zip(tops, lefts, strict=True)]
    return max(windows, key=lambda window: float(window.var()))


def _check_settings(
    y: Tensor,
    psf_size: int,
    seconds: float | None,
    alpha: float,
    outer: int,
    inner: int,
    tries: int,
    tv_weight: float,
) -> None:
    if min(y.shape) <= 2 * psf_size + 8:
        raise ValueError(
            f"Goldstein–Fattal correlates over 2·psf_size pixels and its derivative takes 8 more; got an image of "
            f"{y.shape[0]}x{y.shape[1]} pixels and psf_size={psf_size}; lower psf_size or give a larger image"
        )
    if float(y.max()) <= 0:
        raise ValueError(f"intensities lie in [0, 1]; got no value above {float(y.max()):g}; give an image with light")
    if alpha < 0:
        raise ValueError(f"alpha is the exponent of a decay and not negative; got {alpha}; 0 leaves the filter out")
    if min(outer, inner, tries) < 1 or tv_weight <= 0 or (seconds is not None and seconds <= 0):
        raise ValueError(
            "outer, inner, tries, tv_weight and seconds are positive; got "
            f"outer={outer}, inner={inner}, tries={tries}, tv_weight={tv_weight}, seconds={seconds}"
        )
