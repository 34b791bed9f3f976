"""What a power spectrum cannot tell: which pupils have equal spectra, and which of two turned PSFs is right."""

import torch
from torch import Tensor

from deepblur.baselines.nonblind import tv
from deepblur.operators import ZernikeBlur


def equivalents(family: ZernikeBlur, gamma: Tensor) -> Tensor:
    """All γ whose PSFs have the spectrum of γ's: (S, K) → (E, S, K), γ itself first.

    Flipping the modes of odd order turns the PSF by 180°; in focus, flipping those of even order leaves it unchanged.
    """
    even = torch.tensor(family.even, device=gamma.device)
    turned = torch.where(even, gamma, -gamma)
    if family.z_px:
        return torch.stack([gamma, turned])
    return torch.stack([gamma, turned, -turned, -gamma])


def sparser(y: Tensor, family: ZernikeBlur, gamma: Tensor, noise_std: float) -> tuple[Tensor, Tensor]:
    """Of γ (K,) and γ with its odd orders flipped, the one whose TV restoration has the sparser gradient.

    The PSF that is turned the wrong way leaves echoes beside every edge.

    Returns:
        (K,) and the restoration (H, W).
    """
    candidates = equivalents(family, gamma[None])[:2, 0]
    if torch.equal(candidates[0], candidates[1]):
        return gamma, tv(y, family.psf(gamma[None])[0, 0], noise_std=noise_std)
    restored = torch.stack([tv(y, psf, noise_std=noise_std) for psf in family.psf(candidates)[:, 0]])
    best = int(_spread_of_gradient(restored).argmin())
    return candidates[best], restored[best]


def _spread_of_gradient(images: Tensor) -> Tensor:
    """‖∇u‖₁ / ‖∇u‖₂ of images (B, H, W): small where few pixels hold all the gradient. Scale-free."""
    rows, columns = images.diff(dim=1)[:, :, :-1], images.diff(dim=2)[:, :-1]
    length = (rows.square() + columns.square()).sqrt()
    return length.sum((1, 2)) / length.square().sum((1, 2)).sqrt()
