"""Where the spectrum of an image ends: the cutoff of its lens, read from the image alone.

The OTF of incoherent light ends at twice the cutoff, and beyond there is only noise. Averaged over angles, the power of
an image is P(f) = S(f)·T(ρ)·A(ρ) + N with ρ = f / 2f_c: the scene's spectrum with the prior of `spectrum_model`, the
transfer of the perfect lens, what aberrations leave of it, with a prior from the family of blurs, and white noise. For
each cutoff of a grid the likeliest scene, aberrations and noise are found; Laplace's approximation gives the cutoff's
probability. Cutoffs whose end lies beyond Nyquist are on the grid too: an end is read only where no scene without one
explains the image, and no Gaussian blur does, such as smoothing leaves. A photograph that was resampled has an end of
its own.

Sources: J. W. Goodman, Introduction to Fourier Optics, 3rd ed., 2005, 6.3 (the perfect lens); Lange, Little and
Taylor, JASA 84, 1989 (the Student likelihood).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from deepblur.baselines.spectrum_model import perfect_transfer, periodograms, radial_prior
from deepblur.operators import UniformGamma, ZernikeBlur

LEAST_PX = 128  # of a side: smaller images have too few rings
WINDOW_PX = 256
MOST_STD = 0.05  # relative, of a cutoff that counts as read: the PSF of one so far off still has some 20 dB
LARGEST_READ = 0.25  # cycles per pixel: an end beyond Nyquist leaves no pixel that shows the noise alone
_NEARLY = 1.08  # an end so little beyond is as likely one at Nyquist
_RARE = 1e-3  # the probability below which a cutoff is contradicted
_APART = 1.12  # and by so much it differs from all that are more likely
_STEPS = 40
_RANGE = 3e-6  # of the variance: less noise than that tells nothing, for the taper leaks as much
_LOWEST, _HIGHEST = 0.03, 0.69  # cycles per pixel, of the rings that count
_LOOKS = 0.45  # independent cells per cell: the taper joins neighbours
_WIDER = 1.5  # scenes under a microscope are of more kinds than photographs
_LEVEL, _NOISE = 0.1, 0.04  # what little is known before of the levels of scene and noise, inverse variances
_MISFIT, _KAPPA, _TAU = 0.12, 3.0, 0.35  # as in `spectral_objective`
_SCALE, _FLOOR = 1.2, 0.012  # of a deviation: by benchmarks/read_cutoff.py, on 140 draws of other photographs
_DRAWS, _MODES = 200, 6  # of the prior of aberrations
_ETA_WAVES = 0.15
_SMOOTH_PX = torch.linspace(math.log(0.4), math.log(4.0), 40, dtype=torch.float64).exp()  # standard deviations


@dataclass(frozen=True)
class SpectrumEnd:
    """What the spectrum of an image says of the cutoff."""

    cutoffs: Tensor
    """(C,), cycles per pixel, those of a grid."""
    probability: Tensor
    """(C,), sum 1, of a lens."""
    no_lens: float = 0.0
    """Log ratio of the evidence for a Gaussian blur to that for any lens."""

    @property
    def cutoff(self) -> float:
        """The geometric mean, cycles per pixel."""
        return float((self.probability * self.cutoffs.log()).sum().exp())

    @property
    def relative_std(self) -> float:
        """Of the cutoff."""
        logs = self.cutoffs.log()
        spread = float((self.probability * (logs - math.log(self.cutoff)).square()).sum())
        return math.hypot(_SCALE * math.sqrt(spread), _FLOOR)

    @property
    def read(self) -> tuple[float, float] | None:
        """(cutoff, standard deviation) in cycles per pixel, where the spectrum of a lens ends clearly below Nyquist."""
        if self.relative_std > MOST_STD or self.cutoff > _NEARLY * LARGEST_READ or self.no_lens > 0:
            return None
        return min(self.cutoff, LARGEST_READ), self.cutoff * self.relative_std

    def beyond(self, cutoff: float) -> float | None:
        """The least likely-enough cutoff, where the image has power beyond twice this one, which is too small then."""
        least = float(self.cutoffs[int(torch.searchsorted(self.probability.cumsum(0), _RARE))])
        return least if least > _APART * cutoff and cutoff <= LARGEST_READ else None

    def below(self, cutoff: float) -> float | None:
        """The cutoff, where the spectrum ends far below twice the one given, which is too large then."""
        return self.cutoff if self.relative_std < 2 * MOST_STD and self._most() < cutoff / _APART else None

    def _most(self) -> float:
        """Cutoffs above it are contradicted."""
        place = int(torch.searchsorted(self.probability.cumsum(0), 1 - _RARE))
        return float(self.cutoffs[min(place, len(self.cutoffs) - 1)])


@torch.no_grad()
def spectrum_end(y: Tensor) -> SpectrumEnd | None:
    """What the spectrum of y says of the cutoff; None where y is constant or has too few pixels.

    Args:
        y: (H, W), in any unit, linear in intensity; single outlying pixels replaced. The whole of a large image: in
            noise each window tells more.
    """
    variance = float(y.var())
    if min(y.shape) < LEAST_PX or not variance > 0:
        return None
    n = min(WINDOW_PX, *y.shape)
    windows = periodograms(y, n, torch.float64)
    power, cells = _ring_means(windows.mean(0), n)
    frequency = torch.arange(len(power), dtype=power.dtype) / n
    keep = (frequency > max(_LOWEST, 2.5 / n)) & (frequency < _HIGHEST)
    looks = cells / 2 * _LOOKS * (1 + 0.8 * (len(windows) - 1))
    cutoffs = torch.linspace(math.log(0.04), math.log(0.5), 90, dtype=power.dtype).exp()
    observed = (power[keep] / variance + _RANGE).log(), looks[keep]
    lens = _evidence(*observed, *_signal(frequency[keep], cutoffs))
    smooth = _evidence(*observed, *_smooth(frequency[keep]))
    return SpectrumEnd(cutoffs, torch.softmax(lens, 0), _log_mean(smooth) - _log_mean(lens))


def _evidence(log_power: Tensor, looks: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """(C,), log probability of each model, up to a constant: Levenberg–Marquardt for all at once, then Laplace.

    Args:
        log_power, looks: (R,), of the rings.
        mean, factor: (C, R) and (C, K, R), of the log power of an image without noise.
    """
    noise = log_power[-max(8, len(log_power) // 10) :].exp().mean().log()
    start = mean.new_zeros(len(mean), factor.shape[1] + 1)
    start[:, -1] = noise
    centre = start.clone()
    start[:, 0] = (log_power - mean)[:, : len(log_power) // 3].median(1).values / factor[0, 0].mean()
    prior = torch.ones_like(start[0])
    prior[0], prior[-1] = _LEVEL, _NOISE

    def at(free: Tensor) -> tuple[Tensor, ...]:
        signal = mean + (free[:, None, :-1] @ factor)[:, 0]
        log_v = torch.logaddexp(signal, free[:, -1:])
        share, rest = (signal - log_v).exp(), log_power - log_v
        variance = 1 / looks + (_MISFIT * share).square()
        misfit = _KAPPA * torch.log1p(rest.square() / (_KAPPA * variance)) + variance.log()
        return 0.5 * (_TAU * misfit.sum(1) + (prior * (free - centre).square()).sum(1)), rest, share, variance

    free, damping = start, torch.full_like(start[:, 0], 1e-2)
    state = at(free)
    for _ in range(_STEPS):
        value, rest, share, variance = state
        weight = _TAU * _KAPPA / (_KAPPA * variance + rest.square())
        slopes = torch.cat([share[:, None] * factor, (1 - share)[:, None]], 1)
        gradient = (slopes @ (weight * rest)[..., None])[..., 0] - prior * (free - centre)
        matrix = (slopes * weight[:, None]) @ slopes.mT + torch.diag(prior)
        damped = matrix + torch.diag_embed(damping[:, None] * matrix.diagonal(dim1=-2, dim2=-1))
        tried = free + torch.linalg.solve(damped, gradient)
        there = at(tried)
        better = there[0] < value
        free = torch.where(better[:, None], tried, free)
        settled = bool(((value - there[0]).abs() < 1e-3).all())
        pairs = zip(there, state, strict=True)
        state = tuple(torch.where(better if new.ndim == 1 else better[:, None], new, old) for new, old in pairs)
        damping = torch.where(better, damping / 4, damping * 4).clamp(1e-5, 1e5)
        if settled:
            break
    return -state[0] - 0.5 * torch.linalg.slogdet(matrix)[1]


def _signal(frequency: Tensor, cutoffs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C, R) and factor (C, K, R) of the log power of an image without noise, for each cutoff."""
    scene, scene_factor = radial_prior(frequency)
    radius = frequency / (2 * cutoffs[:, None])
    left, left_factor = _aberrations()
    mean = scene + perfect_transfer(radius).square().clamp_min(1e-12).log() + _at(left, radius)
    # the taper joins neighbouring rings, which shows where the OTF ends
    power = mean.exp()
    power = torch.cat([power[:, :1], power, power[:, -1:]], 1)
    mean = ((power[:, :-2] + power[:, 2:]) / 6 + power[:, 1:-1] * 2 / 3).log()
    aberrations = _at(left_factor, radius).permute(1, 0, 2)
    return mean, torch.cat([_WIDER * scene_factor.expand(len(cutoffs), -1, -1), aberrations], 1)


def _log_mean(evidence: Tensor) -> float:
    return float(torch.logsumexp(evidence, 0)) - math.log(len(evidence))


def _smooth(frequency: Tensor) -> tuple[Tensor, Tensor]:
    """As `_signal`, for Gaussian blurs, whose spectrum has no end."""
    scene, scene_factor = radial_prior(frequency)
    mean = scene - (2 * math.pi * _SMOOTH_PX.to(frequency)[:, None] * frequency).square()
    return mean, _WIDER * scene_factor.expand(len(mean), -1, -1)


_RADII = 48


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _aberrations() -> tuple[Tensor, Tensor]:
    """Mean (48,) and factor (6, 48) of the log share of power that aberrations leave, at radii 0.02 to 0.96.

    By principal components of lenses with aberrations of different strength.
    """
    rng = torch.Generator().manual_seed(0)
    gamma = UniformGamma(_ETA_WAVES, 7).sample(_DRAWS, rng).double()
    gamma *= torch.rand(_DRAWS, 1, generator=rng, dtype=gamma.dtype).sqrt()
    n = 192
    rows, columns = torch.fft.fftfreq(n, dtype=gamma.dtype), torch.fft.rfftfreq(n, dtype=gamma.dtype)
    radius = (torch.hypot(rows[:, None], columns) / 0.4).flatten()
    rings = ((radius - _radii(gamma)[:, None]).abs() < 0.015).to(gamma)
    rings /= rings.sum(1, keepdim=True)
    gain = torch.fft.rfft2(ZernikeBlur(cutoff=0.2, psf_size=63).psf(gamma)[:, 0], (n, n)).abs().square().flatten(1)
    logs = ((gain @ rings.T) / (perfect_transfer(radius).square() @ rings.T)).log()
    _, size, modes = torch.linalg.svd(logs - logs.mean(0), full_matrices=False)
    return logs.mean(0), size[:_MODES, None] * modes[:_MODES] / math.sqrt(_DRAWS)


def _radii(like: Tensor) -> Tensor:
    return torch.linspace(0.02, 0.96, _RADII, dtype=like.dtype)


def _at(values: Tensor, radius: Tensor) -> Tensor:
    """Values (…, 48) at radii of any shape, linearly between; the ends' beyond."""
    place = ((radius - 0.02) / 0.94 * (_RADII - 1)).clamp(0, _RADII - 1)
    below = place.floor().clamp_max(_RADII - 2).long()
    part = place - below
    return values[..., below] * (1 - part) + values[..., below + 1] * part


def _ring_means(power: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Mean of a half plane (n, n // 2 + 1) over rings one cell wide, and the cells of both halves in each."""
    rows, columns = torch.fft.fftfreq(n) * n, torch.fft.rfftfreq(n) * n
    ring = torch.hypot(rows[:, None], columns).round().long().flatten()
    twice = torch.where((columns > 0) & (columns < n / 2), 2.0, 1.0).to(power).expand_as(power).flatten()
    total = power.new_zeros(int(ring.max()) + 1)
    cells = total.index_add(0, ring, twice)
    return total.index_add(0, ring, twice * power.flatten()) / cells, cells
