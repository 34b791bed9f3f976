"""Whether to believe a restoration: does the model explain the image?

`residual_of` asks whether the data can be noise around *some* plausible scene blurred by the PSF: it restores a part
of the image by total variation, more smoothly than is best, blurs the result again and looks whether the rest is
white. That judges the PSF alone and is the same for every restorer. benchmarks/reliability.py finds its thresholds
and how often it is wrong, on photographs with known PSFs: it doubts a right PSF in 5 % of the cases. It notices a
blur of another kind than the model's (a motion of 9 pixels) in 100, 94, 83, 61 and 28 % of the cases at σ = 0.001,
0.003, 0.01, 0.03 and 0.1; the PSF of another draw of the same family in 50, 33, 22, 22 and 0 %; and one that is too
sharp never, because such a PSF explains every image. A residual that is white is therefore no proof.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines import reblur, tv, whiteness
from deepblur.operators import ZernikeBlur, noise_std_of
from deepblur.platform.models.readings import Identification
from deepblur.platform.models.trained_range import NOISE_MARGIN, SATURATED, range_flags, recording_flags

UNCERTAIN_WAVES = 0.04
"""Root mean square of the deviations from which on γ̂ is hardly better than the mean PSF: an error of 0.04 waves in each
of seven coefficients leaves 7 dB of PSF SNR, the mean PSF has 4."""
STRENGTH = 0.2
"""Weight of the data in the witness, relative to what restores best: a scene that is too smooth shows structure that it
cannot take in, while one that follows the noise would hide it."""
WITNESS_PX = 256
"""Side of the part of the image that is looked at."""
LARGEST_WHITENESS = ((0.001, 0.146), (0.003, 0.131), (0.01, 0.128), (0.03, 0.121), (0.1, 0.089))
"""(σ of the noise, whiteness that 5 % of the right PSFs exceed), by benchmarks/reliability.py."""
CAN_JUDGE_BELOW = 0.05
"""σ of the noise from which on even a blur of another kind goes unnoticed in most cases."""
UNEXPLAINED = 0.01
"""Share of the image's variance that a restored image may miss: ten times the largest of 7 photographs at σ = 0.001 to
0.1, restored with the right PSF by TV, Wiener, Richardson-Lucy, and by a DN of the quick preset (0.09 %)."""
NEAR_BOUND = 0.9
"""Of η: a search that is bounded by η ends below it."""
LEAST_AGREEMENT_DB = 2.0
"""Of the PSFs of two halves of an image, below which the PSF is hardly known, by benchmarks/halves.py. A blur of
another kind than the model's passes: halves agree on what is wrong for both."""
BY_TV = "TV restored it, not the network, which has not seen such noise"
"""Where the noise is beyond `largest_noise`."""
Verdict = Literal["good", "doubtful", "poor"]


@dataclass(frozen=True)
class Residual:
    """What PSF and restored image leave unexplained."""

    whiteness: float
    """Correlation of neighbouring pixels in the residual of a smooth scene for this PSF; 0 is white."""
    rms: float
    """Of the data less the restored image, blurred again, in units of intensity; borders and saturated pixels cut."""
    noise_std: float
    """Standard deviation of the noise in the data."""
    unexplained: float
    """Share of the variance of the image without its noise that the restored image, blurred again, does not show."""
    judged: bool
    """Whether a wrong PSF could show at all."""
    explained: bool
    """No evidence against the PSF and the restored image; says little where not `judged`."""
    sentence: str
    """In plain words, with the figures."""


def residual_of(y: Tensor, restored: Tensor, psf: Tensor, *, saturated: Tensor | None = None) -> Residual:
    """What a PSF and a restored image leave unexplained, in bounded memory.

    Args:
        y: (H, W), the data, in [0, 1].
        restored: (H, W).
        psf: (h, w), odd sides, sum 1.
        saturated: (H, W) bool, pixels that say nothing; default: those at the largest value, where they are many.
    """
    masked = _plateau(y) if saturated is None else saturated
    noise_std = float(noise_std_of(y))
    white = _white(y, psf, masked)
    rms, contrast = _misfit(y, restored, psf, masked)
    unexplained = max(0.0, rms**2 - (NOISE_MARGIN * noise_std) ** 2) / max(contrast**2 - noise_std**2, 1e-12)
    limit = largest_whiteness(noise_std)
    judged = noise_std < CAN_JUDGE_BELOW and math.isfinite(white)
    fits = not unexplained > UNEXPLAINED
    explained = not white > limit and fits
    figures = f"its neighbouring pixels correlate by {white:.2f}, with the right PSF rarely by more than {limit:.2f}"
    if white > limit:
        sentence = f"the residual is not white: the model does not explain this image ({figures})"
    elif not fits:
        sentence = (
            f"the restored image, blurred again, misses {100 * unexplained:.0f} % of what the data show: it is not "
            "what the camera saw"
        )
    elif not math.isfinite(white):
        sentence = "the image is too small or too saturated to judge the model by the residual"
    elif not judged:
        sentence = f"the noise, {noise_std:.2g} of the full scale, is so high that the residual cannot judge the model"
    else:
        sentence = f"nothing in the residual speaks against the model ({figures})"
    return Residual(white, rms, noise_std, unexplained, judged, explained, sentence)


def verdict_of(
    flags: tuple[str, ...], residual: Residual, identification: Identification | None
) -> tuple[Verdict, str]:
    """good, doubtful or poor, and why in a sentence; poor is evidence against, doubtful is a lack of evidence for."""
    if not residual.explained:
        return "poor", residual.sentence
    doubts = list(flags)
    if not residual.judged:
        doubts.append(residual.sentence)
    if identification is not None and identification.calibrated:
        std = float(identification.std.square().mean().sqrt())
        if std > UNCERTAIN_WAVES:
            doubts.append(f"the coefficients are known to {std:.2g} waves only, hardly better than a guess")
    return ("doubtful", "; ".join(doubts)) if doubts else ("good", residual.sentence)


def judge(
    y: Tensor,
    residual: Residual,
    identification: Identification | None,
    operator: ZernikeBlur | None,
    *,
    card: Mapping[str, Any],
    noise_std: float,
    saturated: float,
    doubts: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], Verdict, str]:
    """What lies outside of what a method was made for, a sentence each; the verdict on its result; and why.

    Args:
        y: (H, W), the data, in [0, 1].
        residual: what PSF and restored image leave unexplained of it.
        identification, operator: the γ that was found and its family; None of a method that knows none.
        card, noise_std, saturated: as `range_flags` takes them.
        doubts: what the method itself says against its result, after what the card says.
    """
    if identification is None or operator is None:
        flags = recording_flags(card, y, noise_std, saturated) + doubts
    else:
        flags = range_flags(card, operator, y[None, None], identification, noise_std, saturated) + doubts
    return flags, *verdict_of(flags, residual, identification)


def at_bound(gamma: Tensor | None, eta_waves: float) -> tuple[str, ...]:
    """A sentence where an aberration of γ (K,) ends at the bound of its search, ±η in waves."""
    if gamma is None or float(gamma.abs().max()) < NEAR_BOUND * eta_waves:
        return ()
    return (
        f"an aberration reaches {eta_waves:g} waves, the most that the search allows: the true one may be "
        "larger, or the image not blurred in this way at all (--eta allows more)",
    )


def disagreement(agreement_db: float | None) -> tuple[str, ...]:
    """A sentence where two halves of the image give different PSFs."""
    if agreement_db is None or agreement_db >= LEAST_AGREEMENT_DB:
        return ()
    return (f"the PSF is hardly known: those of the two halves of the image agree to {agreement_db:.1f} dB only",)


def largest_whiteness(noise_std: float) -> float:
    """The whiteness that one in twenty right PSFs exceeds at this noise: log-linear between the measured levels."""
    noise, limits = np.log(np.array(LARGEST_WHITENESS)).T
    return float(np.exp(np.interp(math.log(max(noise_std, 1e-6)), noise, limits)))


def witness_whiteness(y: Tensor, psf: Tensor, masked: Tensor | None = None) -> dict[str, float]:
    """ "whiteness" of what the smooth witness leaves of an image (H, W), its "rms", and "noise_std" of the image."""
    margin = max(psf.shape[-2:]) // 2
    rest = y - reblur(tv(y, psf, relative=STRENGTH), psf)
    rest = rest[margin : rest.shape[0] - margin, margin : rest.shape[1] - margin]
    if masked is not None:
        hidden = masked[margin : masked.shape[0] - margin, margin : masked.shape[1] - margin]
        rest = torch.where(hidden, rest[~hidden].mean(), rest)
    return {
        "whiteness": float(whiteness(rest[None])[0]),
        "rms": float(rest.square().mean().sqrt()),
        "noise_std": float(noise_std_of(y)),
    }


def _white(y: Tensor, psf: Tensor, masked: Tensor) -> float:
    """The witness's whiteness on the part of the image that varies most; NaN where it is too small or saturated."""
    part, hidden = _part(y, masked)
    margin = max(psf.shape[-2:]) // 2
    if min(part.shape) <= 2 * margin + 12 or part.min() == part.max() or hidden.float().mean() > 0.1:
        return math.nan
    return witness_whiteness(part, psf, hidden)["whiteness"]


def _misfit(y: Tensor, restored: Tensor, psf: Tensor, masked: Tensor) -> tuple[float, float]:
    """(rms of the residual of the restored image, standard deviation of the data) on the same part, borders cut."""
    H, W = y.shape
    margin = min(max(psf.shape[-2:]) // 2, (min(H, W) - 1) // 2)
    side = 4 * WITNESS_PX
    rows, columns = (slice((n - min(n, side)) // 2, (n + min(n, side)) // 2) for n in (H, W))
    data, hidden = y[rows, columns], masked[rows, columns]
    rest = data - reblur(restored[rows, columns].to(y), psf.to(y))
    inside = (slice(margin, data.shape[0] - margin), slice(margin, data.shape[1] - margin))
    seen = ~hidden[inside]
    if not seen.any():
        return 0.0, 0.0
    return float(rest[inside][seen].square().mean().sqrt()), float(data[inside][seen].std(correction=0))


def _part(y: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    """The window of WITNESS_PX with the largest variance among those with the fewest masked pixels, and its mask."""
    H, W = y.shape
    h, w = min(H, WITNESS_PX), min(W, WITNESS_PX)
    corners = [(r, c) for r in _starts(H, h) for c in _starts(W, w)]

    def cut(image: Tensor, corner: tuple[int, int]) -> Tensor:
        return image[corner[0] : corner[0] + h, corner[1] : corner[1] + w]

    best = max(corners, key=lambda at: (-round(float(cut(masked, at).float().mean()), 2), float(cut(y, at).std())))
    return cut(y, best), cut(masked, best)


def _starts(length: int, side: int) -> list[int]:
    count = min(8, math.ceil((length - side) / side) + 1)
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


def _plateau(y: Tensor) -> Tensor:
    """Pixels at the largest value and their neighbours, where at least one in a thousand has it."""
    top = y >= y.max()
    if int(top.count_nonzero()) < SATURATED * top.numel():
        return torch.zeros_like(top)
    for part in (top, top.mT):  # a byte per pixel, where pooling would take ten
        near = part.clone()
        near[1:] |= part[:-1]
        near[:-1] |= part[1:]
        part.copy_(near)
    return top
