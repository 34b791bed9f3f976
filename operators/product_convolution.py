"""Blur that varies in space: A(γ)x = Σ_ij γ_ij e_i ⋆ (f_j ⊙ x), computed with I convolutions, not I·J (model 2.2)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from deepblur.operators.blur import Blur, BoundBlur
from deepblur.operators.convolution import Boundary, Window, check_boundary, check_odd

FORWARD_AT_ONCE_PX, ADJOINT_AT_ONCE_PX = 2**20, 2**17
"""Pixels, times kernels, that are convolved together; measured on two cores (benchmarks/space_varying.py)."""


@dataclass(frozen=True, eq=False)
class ProductConvolutionBlur(Blur):
    """Σ_i e_i ⋆ ((Σ_j γ_ij f_j) ⊙ x); the response to a point at z is Σ_ij γ_ij f_j[z] e_i(· − z).

    K = I·J; gamma (B, I·J) runs over j fastest. The maps live on the grid of x, which fixes the size of the images.

    Raises:
        ValueError: eigen_psfs is not (I, h, w) with odd sides, or space_maps not (J, H, W).
    """

    eigen_psfs: Tensor
    """(I, h, w), the kernels e_i."""
    space_maps: Tensor
    """(J, H, W), the weights f_j of the kernels at each pixel of x."""
    boundary: Boundary = "valid"
    """What lies outside the image."""
    cg_iterations: int = 20
    """Most steps of the conjugate gradient in regularized_inverse."""
    cg_tolerance: float = 1e-6
    """Relative residual at which it stops earlier."""

    def __post_init__(self) -> None:
        check_boundary(self.boundary)
        if self.eigen_psfs.ndim != 3 or self.space_maps.ndim != 3:
            raise ValueError(
                "product-convolution takes eigen_psfs (I, h, w) and space_maps (J, H, W); got "
                f"{tuple(self.eigen_psfs.shape)} and {tuple(self.space_maps.shape)}"
            )
        check_odd(*self.eigen_psfs.shape[1:])
        self.output_size((self.space_maps.shape[1], self.space_maps.shape[2]))  # refuses maps smaller than the kernels

    @classmethod
    def example(cls, boundary: Boundary) -> Self:
        size = 19, 24
        rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, n).double() for n in size), indexing="ij")
        kernels = torch.linspace(-1, 2, 2 * 5 * 3).double().cos().reshape(2, 5, 3)
        return cls(kernels, torch.stack([torch.ones_like(rows), rows, rows * columns]), boundary)

    @property
    def num_parameters(self) -> int:
        return self.eigen_psfs.shape[0] * self.space_maps.shape[0]

    @property
    def psf_shape(self) -> tuple[int, int]:
        return self.eigen_psfs.shape[1], self.eigen_psfs.shape[2]

    def impulse_response(self, gamma: Tensor, at: tuple[int, int]) -> Tensor:
        matrix = self._matrix(gamma)
        return torch.einsum(
            "bij,j,ihw->bhw", matrix, self.space_maps[:, at[0], at[1]].to(matrix), self.eigen_psfs.to(matrix)
        ).unsqueeze(1)

    def bind(self, gamma: Tensor) -> "ProductConvolution":
        matrix = self._matrix(gamma)
        with torch.autocast(gamma.device.type, enabled=False):
            weights = torch.tensordot(matrix, self.space_maps.to(matrix), dims=1)
        return ProductConvolution(self, self.eigen_psfs.to(matrix), weights)

    def _matrix(self, gamma: Tensor) -> Tensor:
        return self.check_gamma(gamma).unflatten(1, (self.eigen_psfs.shape[0], self.space_maps.shape[0]))


class ProductConvolution(BoundBlur):
    """x ↦ Σ_i e_i ⋆ (w_i ⊙ x).

    Args:
        family: whose boundary and solver settings hold.
        kernels: (I, h, w).
        weights: (B, I, H, W), w_i = Σ_j γ_ij f_j.
    """

    def __init__(self, family: Blur, kernels: Tensor, weights: Tensor):
        super().__init__(family, weights.shape[0])
        self.kernels, self.weights = kernels, weights

    def _forward(self, x: Tensor, window: Window) -> Tensor:
        E = self._spectrum(self.kernels, window.torus)
        total: Tensor | None = None
        for part in self._parts(x, FORWARD_AT_ONCE_PX):
            weighted = x.unsqueeze(2) * self.weights[:, None, part]  # (B, C, part, H, W)
            X = torch.fft.rfft2(window.spread(weighted), s=window.torus)
            blurred = (X * E[part]).sum(2)
            total = blurred if total is None else total + blurred
        assert total is not None
        return window.cut(torch.fft.irfft2(total, s=window.torus))

    def _adjoint(self, y: Tensor, window: Window) -> Tensor:
        Y = torch.fft.rfft2(window.cut_adjoint(y), s=window.torus).unsqueeze(2)
        E = self._spectrum(self.kernels, window.torus).conj()
        x: Tensor | None = None
        for part in self._parts(y, ADJOINT_AT_ONCE_PX):
            each = window.spread_adjoint(torch.fft.irfft2(Y * E[part], s=window.torus))
            for image, weight in zip(each.unbind(2), self.weights[:, None, part].unbind(2), strict=True):
                # one pass per kernel: a third of the time of a product and a sum
                x = image * weight if x is None else torch.addcmul(x, image, weight)
        assert x is not None
        return x

    def _parts(self, image: Tensor, most: int) -> list[slice]:
        """All kernels at once for small images; one by one for large ones, whose copies would leave the cache."""
        count = len(self.kernels)
        step = count if count * image.numel() <= most else 1
        return [slice(i, i + step) for i in range(0, count, step)]

    def _window(self, x: Tensor, *, image: bool) -> Window:
        window = super()._window(x, image=image)
        if window.image_size != self.weights.shape[-2:]:
            raise ValueError(
                f"the space maps fix the image at {tuple(self.weights.shape[-2:])}; got an image of "
                f"{window.image_size}; crop it or resample the maps"
            )
        return window
