"""What a power spectrum cannot tell: which of the PSFs that explain it, each also turned by 180°, is right.

A wrong PSF leaves echoes beside every edge of the restoration, so the sparsest gradient decides.
"""

import torch
from torch import Tensor

from deepblur.baselines.estimate import richest
from deepblur.baselines.nonblind import tv
from deepblur.operators import ZernikeBlur

_SAME = 0.01  # squared distance of PSFs, of their energy, below which they count as one
_CANDIDATES = 6
_PART_PX = 256  # where the image is richest; all of 384² pixels chooses no better
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


def sparsest(
    y: Tensor, family: ZernikeBlur, gammas: Tensor, losses: Tensor, noise_std: float
) -> tuple[int, Tensor, Tensor]:
    """The γ whose TV restoration is sparse and whose spectral objective is low.

    Args:
        y: (H, W).
        gammas: (S, K), ends of the search.
        losses: (S,), the objective there.
        noise_std: of y, in intensity.
    Returns:
        The index among the ends, that γ or its equivalent with the PSF turned (K,), and its restoration (H, W).
    """
    part = richest(y, _PART_PX)
    best: tuple[float, int, Tensor, Tensor] | None = None
    for index in _distinct(family.psf(gammas)[:, 0], losses):
        both = equivalents(family, gammas[index : index + 1])[:2, 0]
        for gamma in both[:1] if torch.equal(both[0], both[1]) else both:
            restored = tv(part, family.psf(gamma[None])[0, 0], noise_std=noise_std)
            score = float(losses[index]) + _SPARSITY_WEIGHT * float(_gradient_spread(restored).log())
            if best is None or score < best[0]:
                best = score, index, gamma, restored
    assert best is not None
    _, index, gamma, restored = best
    if part.shape != y.shape:
        restored = tv(y, family.psf(gamma[None])[0, 0], noise_std=noise_std)
    return index, gamma, restored


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
