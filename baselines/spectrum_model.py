"""Power spectra: that of one image, averaged over its windows, and those of natural scenes, as a Gaussian prior.

The logarithm of a scene's spectrum is a smooth function of frequency: cubic in log|f| for each of the angular functions
1, cos 2θ, sin 2θ, …, sin 8θ. Photographs tell how its 36 coefficients are distributed.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from deepblur.operators.pupil import NYQUIST

ORDERS = (0, 2, 4, 6, 8)  # angular; a power spectrum is even, so it has no odd ones
POWERS = 4  # 1, t, t², t³ with t = log(|f| / _CENTRE) / _WIDTH
LOWEST, HIGHEST = 0.03, 0.45  # |f| in cycles per pixel, between which spectra are compared
_FOLDED = 0.05  # of the power
_CENTRE, _WIDTH = 0.15, 0.7
_BAND = (0.05, 0.3)  # where a window's contrast is measured
_LEAST_CONTRAST = 0.01  # of the mean: flatter windows do not count as more than this
_LEAST_SNR = 1e-3  # below it a window is noise
_DIM = 0.3  # of the windows' mean power; weaker ones show the camera and the compression of the file, not the scene
_LEAST_WINDOWS = 9  # that count however dim they are, or a fourth of all, where one bright spot outshines the rest
MOST_PX = 2**23
"""Of all windows together: all of 1448×1448 pixels; of a larger image those whose values vary most."""
_OVERLAP = 0.8  # independent looks per window, at half overlap
WINDOW_CELLS = 12.8  # of a spectrum, between the zero frequency and the pupil's radius

# Learnt from photographs by `benchmarks/spectral.py --learn`: 231 training images of BSDS and COCO, twice each. Rows
# are the angular functions 1, cos 2θ, sin 2θ, …, sin 8θ; a factor is the lower triangle of a 4×4 Cholesky factor.
_MEAN = (
    (-0.315, -1.444, 0.072, -0.078),
    (0.000, 0.000, 0.000, 0.000),
    (0.000, 0.000, 0.000, 0.000),
    (0.328, -0.050, -0.043, 0.004),
    (0.000, 0.000, 0.000, 0.000),
    (0.000, 0.000, 0.000, 0.000),
    (0.000, 0.000, 0.000, 0.000),
    (0.107, 0.002, -0.016, 0.009),
    (0.000, 0.000, 0.000, 0.000),
)
_FACTOR = (
    (2.021, 0.028, 0.460, -0.009, 0.012, 0.170, -0.004, -0.050, 0.051, 0.063),
    (0.405, -0.046, 0.199, -0.012, -0.022, 0.073, 0.001, -0.033, 0.011, 0.033),
    (0.225, -0.027, 0.141, -0.026, -0.007, 0.050, -0.002, -0.034, 0.008, 0.025),
    (0.284, -0.024, 0.135, -0.033, -0.016, 0.052, 0.003, -0.042, 0.021, 0.029),
    (0.158, -0.019, 0.093, -0.028, -0.008, 0.032, 0.005, -0.029, 0.007, 0.018),
    (0.148, -0.014, 0.083, -0.028, -0.012, 0.029, 0.006, -0.026, 0.012, 0.007),
    (0.108, -0.018, 0.076, -0.024, -0.006, 0.027, 0.004, -0.030, 0.006, 0.015),
    (0.159, 0.014, 0.077, -0.039, -0.000, 0.027, 0.001, -0.025, 0.011, 0.011),
    (0.085, -0.001, 0.068, -0.023, -0.002, 0.023, 0.003, -0.033, 0.002, 0.016),
)


def window_px(cutoff: float) -> int:
    """Side of the windows for a pupil of this radius, in cycles per pixel: 64 pixels at 0.2, even.

    The PSF grows as 1 / cutoff, and a cell of the spectrum is so the same share of the passband whatever the cutoff.
    """
    return 2 * round(WINDOW_CELLS / 2 / cutoff)


class Spectrum(NamedTuple):
    """One image's power spectrum on the cells of a `Grid`, in squared intensity. M cells."""

    power: Tensor  # (M,), weighted mean of the windows' periodograms
    unit_noise: Tensor  # (M,), its expectation for white noise of variance 1
    looks: Tensor  # (M,), independent periodograms in the mean
    noise_var: Tensor  # (), variance of the noise, taken for white


class Grid:
    """Frequencies of the periodogram of n×n pixels: a half plane, |f| between LOWEST and the highest.

    Args:
        n: side of the windows, in pixels.
        like: gives dtype and device.
        highest: in cycles per pixel.
    """

    def __init__(self, n: int, like: Tensor, highest: float = HIGHEST):
        self.n = n
        self.rows = torch.fft.fftfreq(n, dtype=like.dtype, device=like.device)
        self.columns = torch.fft.rfftfreq(n, dtype=like.dtype, device=like.device)
        self.radius = torch.hypot(self.rows[:, None], self.columns)
        self.keep = (self.radius > LOWEST) & (self.radius < highest)
        self.cells = self.keep.flatten().nonzero()[:, 0]  # of the half plane, row by row
        self.angle = torch.atan2(self.rows[:, None].expand_as(self.radius), self.columns.expand_as(self.radius))
        # The other half plane repeats all columns but the first.
        self.multiplicity = torch.where(self.columns > 0, 2.0, 1.0).to(like).expand_as(self.radius)[self.keep]

    def gain(self, psf: Tensor, cells: Tensor | None = None) -> Tensor:
        """|ĥ|² of PSFs (S, h, w) at the cells, those of the grid or others of the half plane: (S, M).

        Differentiable, real arithmetic throughout.
        """
        real, imaginary = self.transform(psf, cells)
        return real.square() + imaginary.square()

    def transform(self, images: Tensor, cells: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the Fourier transform of images (…, h, w) at the cells, both (…, M)."""
        h, w = images.shape[-2:]
        upper = self.rows[: self.n // 2 + 1].abs()  # the rows below zero follow by symmetry
        (cos_r, sin_r), (cos_c, sin_c) = self._waves(upper, h), self._waves(self.columns, w)
        real, imaginary = images @ cos_c.T, images @ sin_c.T
        even, odd = (cos_r @ real, cos_r @ imaginary), (sin_r @ imaginary, sin_r @ real)
        below = slice(1, (self.n - 1) // 2 + 1)
        chosen = self.cells if cells is None else cells
        return (
            torch.cat([even[0] - odd[0], (even[0] + odd[0])[..., below, :].flip(-2)], -2).flatten(-2)[..., chosen],
            torch.cat([even[1] + odd[1], (even[1] - odd[1])[..., below, :].flip(-2)], -2).flatten(-2)[..., chosen],
        )

    def scene_prior(self) -> tuple[Tensor, Tensor]:
        """Mean (M,) and factor (36, M) of log scene power: a scene is mean + z @ factor with z ~ N(0, I).

        The level, whose prior is wide, is nearly the first of the 36.
        """
        rows = basis(self).unflatten(0, (-1, POWERS))
        mean = (torch.tensor(_MEAN).to(rows)[..., None] * rows).sum((0, 1))
        lower = torch.tril_indices(POWERS, POWERS)
        blocks = rows.new_zeros(len(rows), POWERS, POWERS)
        blocks[:, lower[0], lower[1]] = torch.tensor(_FACTOR).to(rows)
        return mean, (blocks.mT @ rows).flatten(0, 1)

    @staticmethod
    def _waves(frequencies: Tensor, size: int) -> tuple[Tensor, Tensor]:
        pixels = torch.arange(size, dtype=frequencies.dtype, device=frequencies.device) - size // 2
        phase = 2 * math.pi * frequencies[:, None] * pixels
        return phase.cos(), phase.sin()


def basis(grid: Grid) -> Tensor:
    """(36, M): the functions whose weighted sum is the logarithm of a scene's spectrum; four powers of t at a time."""
    t = (grid.radius[grid.keep] / _CENTRE).log() / _WIDTH
    radial = torch.stack([t**power for power in range(POWERS)])
    angle = grid.angle[grid.keep]
    angular = [torch.ones_like(angle)]
    for order in ORDERS[1:]:
        angular += [torch.cos(order * angle), torch.sin(order * angle)]
    return (torch.stack(angular)[:, None] * radial).flatten(0, 1)


def radial_prior(frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (R,) and factor (4, R) of a scene's log power at frequencies (R,), cycles per pixel, over all angles."""
    t = (frequencies / _CENTRE).log() / _WIDTH
    powers = torch.stack([t**power for power in range(POWERS)])
    lower = torch.tril_indices(POWERS, POWERS)
    block = powers.new_zeros(POWERS, POWERS)
    block[lower[0], lower[1]] = torch.tensor(_FACTOR[0]).to(powers)
    return torch.tensor(_MEAN[0]).to(powers) @ powers, block.mT @ powers


def perfect_transfer(radius: Tensor) -> Tensor:
    """MTF of a lens without aberrations at frequencies in units of twice the cutoff; 0 from 1 on."""
    inside = radius.clamp(0, 1)
    return 2 / math.pi * (inside.acos() - inside * (1 - inside.square()).sqrt())


@lru_cache(maxsize=32)
def unaliased(cutoff: float) -> float:
    """Frequency in cycles per pixel up to which an image shows nearly what the lens passes there, at most HIGHEST.

    What the pixels fold over from beyond Nyquist, where the lens passes light above a cutoff of 0.25, is less than 5 %
    of the power: of an average scene, a lens without aberrations, square pixels, and along an axis, where it is most.
    """
    frequency = torch.linspace(LOWEST, HIGHEST, 200, dtype=torch.float64)

    def log_power(at: Tensor) -> Tensor:
        passed = perfect_transfer(at / (2 * cutoff)) * torch.sinc(at)
        return radial_prior(at)[0] + 2 * passed.clamp_min(1e-12).log()

    folded = log_power(1 - frequency) - log_power(frequency)
    return float(frequency[folded < math.log(_FOLDED)].max()) if cutoff > NYQUIST else HIGHEST


def average_spectrum(y: Tensor, grid: Grid, *, passband: float, noise_std: float | None = None) -> Spectrum:
    """The power spectrum of y, its windows weighted for what they say of the scene's shape of spectrum.

    A window of contrast A has the expected periodogram A·S(f) + N. Divided by A, all say the same S; each gets the
    weight (A·S / (A·S + N))² of an optimal estimate: without noise all windows count alike, and no strong edge alone
    decides; with noise the strong windows do. Dim windows are left out.

    Args:
        y: (H, W), no side below grid.n; the whole of a large image, for in noise each window tells more.
        passband: frequency in cycles per pixel beyond which there is only noise.
        noise_std: of the noise, in intensity; None measures it beyond the passband.
    Source: Welch, IEEE Trans. Audio Electroacoustics 15(2), 1967 (averaging windows); the weights are ours.
    """
    windows = periodograms(y, grid.n)
    in_band = (grid.radius > _BAND[0]) & (grid.radius < _BAND[1])
    strength = windows[:, in_band].mean(-1)
    least = min(len(strength), max(len(strength) // 4, _LEAST_WINDOWS))
    bright = strength >= (_DIM * strength.mean()).minimum(strength.topk(least).values[-1])
    windows, strength = windows[bright], strength[bright]
    if noise_std is None:
        # Half a cell's reach of the taper is left free; corners of the plane lie beyond any admissible passband.
        # An aliased image has signal there too, least at the far end.
        corners = 0.55 if passband <= 2 * NYQUIST else 0.62
        beyond = grid.radius > min(passband + 2 / grid.n, corners)
        noise_var = windows.mean(0)[beyond].median()
    else:
        noise_var = torch.as_tensor(noise_std**2).to(y)
    noise_var = noise_var.clamp_min(1e-10)  # 8-bit rounding alone makes 1e-6

    contrast = (strength - noise_var).clamp_min(0)
    contrast = (contrast + _LEAST_CONTRAST * contrast.mean() + _LEAST_SNR * noise_var)[:, None, None]
    shape = _ring_means((windows - noise_var).sum(0) / contrast.sum(), grid)
    snr = (contrast * shape / noise_var).clamp_min(_LEAST_SNR)
    weights = (snr / (1 + snr)).square()
    weights = weights / weights.sum(0) / contrast
    expected = weights * noise_var * (1 + snr)
    return Spectrum(
        power=(weights * windows).sum(0)[grid.keep].clamp_min(1e-12),
        unit_noise=weights.sum(0)[grid.keep],
        looks=_OVERLAP * (expected.sum(0).square() / expected.square().sum(0))[grid.keep],
        noise_var=noise_var,
    )


def periodograms(y: Tensor, n: int, dtype: torch.dtype | None = None) -> Tensor:
    """(windows, n, n // 2 + 1): Hann windows at half overlap without their means; white noise gives its variance.

    At most MOST_PX in all; of the given dtype, or that of y.
    """
    rows, columns = (_starts(size, n).to(y.device) for size in y.shape)
    places = torch.cartesian_prod(rows, columns)
    most = MOST_PX // n**2
    if len(places) > most:
        # row by row: a large image may lie on disk
        spread = torch.cat([y[row : row + n].unfold(1, n, 1)[:, columns].var((0, 2)) for row in rows.tolist()])
        places = places[spread.topk(most).indices.sort().values]
    windows = y.unfold(0, n, 1).unfold(1, n, 1)[places[:, 0], places[:, 1]].to(dtype or y.dtype)
    taper = _hann(n, windows.dtype, y.device)
    windows = (windows - (windows * taper.square()).mean((-2, -1), keepdim=True)) * taper
    spectrum = torch.fft.rfft2(windows)
    return (spectrum.real.square() + spectrum.imag.square()) / n**2


def _starts(size: int, n: int) -> Tensor:
    """First pixels of windows that cover a side evenly and overlap by half or a little more."""
    count = math.ceil(2 * (size - n) / n) + 1
    return torch.linspace(0, size - n, count).round().long()


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _hann(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    side = torch.hann_window(n + 1, periodic=False, dtype=dtype, device=device)[:n]
    taper = side[:, None] * side
    return taper / taper.square().mean().sqrt()


def _ring_means(values: Tensor, grid: Grid) -> Tensor:
    """Each cell replaced by the mean over its ring, two cells wide."""
    ring = (grid.radius * grid.n / 2).round().long().flatten()
    rings = int(ring.max()) + 1
    total = values.new_zeros(rings).index_add_(0, ring, values.flatten())
    count = values.new_zeros(rings).index_add_(0, ring, torch.ones_like(values).flatten())
    return (total / count)[ring].reshape(values.shape)
