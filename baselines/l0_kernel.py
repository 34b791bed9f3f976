"""Kernel steps of the ℓ0-gradient method: from a sharp guess u and the data v to the kernel between them.

All work on the torus of the image. Both variants come from the same least squares ‖k ⋆ u − v‖² with a quadratic prior;
they differ in what keeps the kernel non-negative and sparse.
Source: Anger, Delbracio and Facciolo, "Efficient Blind Deblurring under High Noise Levels", ISPA 2019; IPOL 9,
2019, article 243.
"""

import math

import torch
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import pad

from deepblur.baselines.tv import laplacian
from deepblur.operators import transfer_function

_MU_END = 1000.0
_SMALL_PART = 0.1  # mass below which a separate part of the kernel is taken for noise


def iterative_kernel(u: Tensor, v: Tensor, size: int, gamma: float) -> Tensor:
    """argmin_k ‖k ⋆ u − v‖² + γ‖∇k‖² + ‖k‖₁ over k ≥ 0 of the given support, by half-quadratic splitting.

    Args:
        u, v: (H, W), sharp guess and data, both circular and in [0, 1].
        size: odd side of the kernel, at most min(H, W).
        gamma: weight of the smoothness of the kernel.
    Returns:
        (size, size), non-negative, sum 1, its barycentre in the middle; a Dirac where nothing is left.
    """
    U, smooth = torch.fft.rfft2(u), gamma * laplacian(u)
    data, energy = U.conj() * torch.fft.rfft2(v), U.real.square() + U.imag.square() + smooth
    kernel = u.new_full((size, size), 1 / size**2)
    mu = 1.0
    while mu < _MU_END:
        spectrum = torch.add(data, transfer_function(kernel, size_of(u)), alpha=mu) / (energy + mu)
        kernel = (_support(spectrum, size_of(u), size) - 0.5 / mu).clamp_min(0)
        mu *= 2  # published as 1, 2, … below 1000; a factor of 2 gives the authors' level and time, steps of 1 do not
    return centred(kernel)


def basic_kernel(u: Tensor, v: Tensor, size: int, gamma: float, threshold: float) -> Tensor:
    """argmin_k ‖k ⋆ ∇u − ∇v‖² + γ‖k‖², cropped and clipped; one division.

    Args, returns: as iterative_kernel, and
        threshold: fraction of the maximum below which values become zero. Where it is positive, 8-connected parts with
            less than a tenth of the mass go as well.
    """
    U, edges = torch.fft.rfft2(u), laplacian(u)
    data = edges * U.conj() * torch.fft.rfft2(v)
    kernel = _support(data / (edges * (U.real.square() + U.imag.square()) + gamma), size_of(u), size).clamp_min(0)
    if threshold > 0:
        kernel = without_small_parts(torch.where(kernel < threshold * kernel.max(), 0, kernel))
    return centred(kernel)


def without_small_parts(kernel: Tensor) -> Tensor:
    """The kernel (h, w) ≥ 0 without its 8-connected parts that hold less than a tenth of its mass."""
    names, count = label((kernel > 0).cpu().numpy(), structure=torch.ones(3, 3).numpy())
    parts = torch.from_numpy(names).to(kernel.device, torch.long)
    mass = kernel.new_zeros(count + 1).index_add_(0, parts.flatten(), kernel.flatten())
    return torch.where(mass[parts] < _SMALL_PART * kernel.sum(), 0, kernel)


def centred(kernel: Tensor) -> Tensor:
    """The kernel (h, w) ≥ 0 shifted by whole pixels to have its barycentre in the middle, sum 1; a Dirac if it is zero.

    What the shift carries out of the support is lost.
    """
    middle, mass = kernel.shape[0] // 2, float(kernel.sum())
    if mass == 0:
        dirac = torch.zeros_like(kernel)
        dirac[middle, middle] = 1
        return dirac
    if not math.isfinite(mass):
        return kernel  # the caller reports it
    place = torch.arange(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)
    down, right = (round(middle - float(kernel.sum(axis) @ place / mass)) for axis in (1, 0))
    wide = pad(kernel, (middle,) * 4).roll((down, right), (0, 1))
    kernel = wide[middle : middle + kernel.shape[0], middle : middle + kernel.shape[1]]
    return kernel / kernel.sum()


def _support(spectrum: Tensor, torus: tuple[int, int], size: int) -> Tensor:
    """The kernel of side `size` around the origin of an image with this spectrum."""
    r = size // 2
    return torch.fft.irfft2(spectrum, s=torus).roll((r, r), (0, 1))[:size, :size]


def size_of(image: Tensor) -> tuple[int, int]:
    """(H, W), as the FFT wants it."""
    return image.shape[0], image.shape[1]
