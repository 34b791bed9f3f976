"""Blur with a PSF in a linear space: h(γ) = Σ_k γ_k e_k, and the PCA that finds the space (model 2.1)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from deepblur.operators.blur import Blur, Convolution
from deepblur.operators.convolution import Boundary, check_boundary, check_odd


def eigen_psfs(psfs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k-dimensional linear space that loses least of a set of PSFs: an uncentred PCA.

    Uncentred because h(γ) = Σ_k γ_k e_k has no mean term: the mean PSF must lie in the space.

    Args:
        psfs: (N, h, w) or (N, 1, h, w), measured or simulated.
        k: dimension, at most min(N, h·w).
    Returns:
        basis (k, h, w), orthonormal, by falling importance; explained (k,), the fraction of energy up to each.
    Raises:
        ValueError: k is not in 1 … min(N, h·w).
    """
    h, w = psfs.shape[-2:]
    rows = psfs.reshape(-1, h * w)
    if not 1 <= k <= min(rows.shape):
        raise ValueError(f"{rows.shape[0]} PSFs of {h}x{w} span 1 to {min(rows.shape)} dimensions; got k = {k}")
    if rows.shape[0] > 2 * rows.shape[1]:  # many patches: their Gram matrix is small, and its eigenvectors the same
        energy, axes = torch.linalg.eigh(rows.double().mT @ rows.double())
        energy, axes = energy.flip(0).clamp_min(0).to(rows), axes.mT.flip(0).to(rows)
    else:
        _, singular, axes = torch.linalg.svd(rows, full_matrices=False)
        energy = singular**2
    return axes[:k].reshape(k, h, w).contiguous(), (energy.cumsum(0) / energy.sum())[:k]


@dataclass(frozen=True, eq=False)
class EigenPSFBlur(Blur):
    """Convolution with Σ_k γ_k e_k.

    Raises:
        ValueError: the basis is not (K, h, w) with odd sides, or not orthonormal to 1e-4.
    """

    basis: Tensor
    """(K, h, w), orthonormal eigen-PSFs e_k."""
    boundary: Boundary = "valid"
    """What lies outside the image."""
    cg_iterations: int = 20
    """Most steps of the conjugate gradient in regularized_inverse."""
    cg_tolerance: float = 1e-6
    """Relative residual at which it stops earlier."""

    def __post_init__(self) -> None:
        check_boundary(self.boundary)
        if self.basis.ndim != 3:
            raise ValueError(f"a basis of eigen-PSFs has the shape (K, h, w); got {tuple(self.basis.shape)}")
        check_odd(*self.basis.shape[1:])
        flat = self.basis.detach().flatten(1).double()
        off = (flat @ flat.T - torch.eye(len(flat), dtype=flat.dtype, device=flat.device)).abs().max().item()
        if not off <= 1e-4:
            raise ValueError(f"eigen-PSFs must be orthonormal; their Gram matrix is off by {off:.2g}; use eigen_psfs()")

    @classmethod
    def example(cls, boundary: Boundary) -> Self:
        rows, columns = torch.meshgrid(torch.arange(5.0).double(), torch.arange(7.0).double(), indexing="ij")
        psfs = [torch.exp(-((rows - 1.5) ** 2) / s - (columns - 3.4) ** 2 / (4 - s)) for s in (1.0, 2.0, 3.0)]
        return cls(eigen_psfs(torch.stack(psfs), 3)[0], boundary)

    @classmethod
    def of_one(cls, psf: Tensor, boundary: Boundary = "valid") -> tuple[Self, Tensor]:
        """The operator and γ (1, 1) whose PSF is this one (h, w), whatever family it comes from.

        Raises:
            ValueError: an even side, or a PSF that is zero everywhere.
        """
        norm = psf.square().sum().sqrt()
        if not norm > 0:
            raise ValueError("a PSF of zeros blurs nothing and has no direction; give one that sums to 1")
        return cls((psf / norm)[None], boundary), norm.reshape(1, 1)

    @property
    def num_parameters(self) -> int:
        return self.basis.shape[0]

    @property
    def psf_shape(self) -> tuple[int, int]:
        return self.basis.shape[1], self.basis.shape[2]

    def psf(self, gamma: Tensor) -> Tensor:
        """(B, 1, h, w); its sum is whatever γ makes it. Source: model 2.1."""
        gamma = self.check_gamma(gamma)
        with torch.autocast(gamma.device.type, enabled=False):
            return torch.tensordot(gamma, self.basis.to(gamma), dims=1).unsqueeze(1)

    def impulse_response(self, gamma: Tensor, at: tuple[int, int]) -> Tensor:
        return self.psf(gamma)

    def bind(self, gamma: Tensor) -> Convolution:
        return Convolution(self, self.psf(gamma))
