"""What a power spectrum cannot tell: which of the PSFs that explain it, each also turned by 180°, is right.

A wrong PSF leaves echoes beside every edge of the restoration, so the sparsest gradient decides.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from deepblur.baselines.estimate import richest
from deepblur.baselines.nonblind import tv
from deepblur.operators import ZernikeBlur

_SAME = 0.01  # squared distance of PSFs, of their energy, below which they count as one
_CANDIDATES = 6
_PART_PX = 256  # where the image is richest; all of 384² pixels chooses no better
_TEMPER = 3.0  # of the scores: what errors of the scene's spectrum are alike in them
_CERTAIN = 0.99  # of the probability, from which on one PSF stands for itself
_SPARSITY_WEIGHT = 300.0  # of log(‖∇u‖₁/‖∇u‖₂) against the spectral objective; tuned on training photographs


def equivalents(family: ZernikeBlur, gamma: Tensor) -> Tensor:
    """All γ whose PSFs have the spectrum of γ's: (S, K) → (E, S, K), γ itself first.

    Flipping the modes of odd order turns the PSF by 180°; in focus, flipping those of even order leaves it unchanged.
    """
    even = torch.tensor(family.even, device=gamma.device)
    turned = torch.where(even, gamma, -gamma)
    if family.z_px:
        return torch.stack([gamma, turned])
    return torch.stack([gamma, turned, -turned, -gamma])


class Choice(NamedTuple):
    """What the restorations tell of the ends of a search."""

    end: int
    """Index of the best end."""
    gamma: Tensor
    """(K,), that end's, or its equivalent with the PSF turned."""
    psf: Tensor
    """(h, w), mean of all PSFs that were tried, by their probability: where one is far ahead, its own."""
    image: Tensor
    """(H, W), restored with it."""


def sparsest(y: Tensor, family: ZernikeBlur, gammas: Tensor, losses: Tensor, noise_std: float) -> Choice:
    """The γ whose TV restoration is sparse and whose spectral objective is low.

    The score of a PSF is a tempered logarithm of its probability. In noise several are nearly as probable, and their
    mean has the least expected squared error.

    Args:
        y: (H, W).
        gammas: (S, K), ends of the search.
        losses: (S,), the objective there.
        noise_std: of y, in intensity.
    """
    part = richest(y, _PART_PX)
    tried: list[tuple[float, int, Tensor, Tensor, Tensor]] = []
    for index in _distinct(family.psf(gammas)[:, 0], losses):
        both = equivalents(family, gammas[index : index + 1])[:2, 0]
        for gamma in both[:1] if torch.equal(both[0], both[1]) else both:
            psf = family.psf(gamma[None])[0, 0]
            restored = tv(part, psf, noise_std=noise_std)
            score = float(losses[index]) + _SPARSITY_WEIGHT * float(_gradient_spread(restored).log())
            tried.append((score, index, gamma, psf, restored))
    scores = torch.tensor([each[0] for each in tried], dtype=torch.float64)
    weights = torch.softmax(-scores / _TEMPER, 0).to(y)
    _, index, gamma, psf, restored = tried[int(scores.argmin())]
    if weights.max() < _CERTAIN:
        psf = (weights[:, None, None] * torch.stack([each[3] for each in tried])).sum(0)
    if weights.max() < _CERTAIN or part.shape != y.shape:
        restored = tv(y, psf, noise_std=noise_std)
    return Choice(index, gamma, psf, restored)


def _distinct(psfs: Tensor, losses: Tensor) -> list[int]:
    """Indices of the lowest losses whose PSFs (S, h, w) differ, turns by 180° apart."""
    flat, turned = psfs.flatten(1), psfs.flip(-2, -1).flatten(1)
    kept: list[int] = []
    for index in losses.argsort().tolist():
        near = [min((flat[index] - p[k]).square().sum() for p in (flat, turned)) / flat[k].square().sum() for k in kept]
        if not near or min(near) > _SAME:
            kept.append(index)
    return kept[:_CANDIDATES]


def _gradient_spread(image: Tensor) -> Tensor:
    """‖∇u‖₁ / ‖∇u‖₂ of an image (H, W): small where few pixels hold all the gradient. Scale-free."""
    length = torch.hypot(image.diff(dim=0)[:, :-1], image.diff(dim=1)[:-1])
    return length.sum() / length.square().sum().sqrt()
