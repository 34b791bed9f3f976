"""Blind deblurring with a prior that counts the edges: the ℓ0-gradient method, coarse to fine.

The sharp image is piecewise constant: min_{u,k} ‖k ⋆ u − v‖² + λ‖∇u‖₀ + a prior on k, by turns in u and k on a pyramid;
the final image is a total-variation restoration with the kernel found.
Sources: Pan, Hu, Su and Yang, CVPR 2014 and PAMI 39(2), 2017; in the efficient form of Anger, Delbracio and Facciolo,
ISPA 2019 and IPOL 9, 2019, article 243.
"""

import math
from typing import Literal, get_args

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import interpolate, pad

from deepblur.baselines.estimate import Estimate, check_image
from deepblur.baselines.l0_kernel import basic_kernel, iterative_kernel, size_of
from deepblur.baselines.noise import denoised
from deepblur.baselines.tv import edge_taper, laplacian
from deepblur.operators import noise_std_of, transfer_function

KernelStep = Literal["iterative", "basic"]

_BETA_END = 1e5
_NOISE_FLOOR = 1e-3  # the rounding to 8 bits alone has this standard deviation


@torch.no_grad()
def l0_gradient(
    image: np.ndarray | Tensor,
    psf_size: int = 31,
    *,
    seed: int = 0,
    noise_std: float | None = None,
    lam: float = 4e-3,
    lam_min: float = 1e-2,
    decay: float = 1 / 1.1,
    gamma: float = 20.0,
    iterations: int = 2,
    kernel_step: KernelStep = "iterative",
    threshold: float = 0.0,
    noise_aware: bool = False,
    tv_weight: float = 0.005,
) -> Estimate:
    """PSF and sharp image from one blurry image; the defaults are the published ones.

    Weights hold for intensities whose range is [0, 1], to which the image is stretched first.

    Args:
        image: (H, W), intensity in [0, 1].
        psf_size: odd side of the PSF, in pixels, at most min(H, W).
        seed: part of every method's signature; this one has no randomness.
        noise_std: standard deviation of white noise, in the image's intensity; only noise_aware reads it. None
            estimates it from the image.
        lam: weight λ of the number of edges at the coarsest scale.
        lam_min: λ never falls below.
        decay: factor on λ after each image step.
        gamma: weight of the kernel's smoothness (iterative) or energy (basic).
        iterations: image and kernel steps at each scale.
        kernel_step: "iterative" for a sparse and smooth kernel, "basic" for one division.
        threshold: basic step: fraction of the kernel's maximum below which it is cut, small separate parts as well.
        noise_aware: the authors' settings for noisy images: lam_min = 0.5σ and gamma = 200σ whatever was given, and
            the image is denoised before the final restoration.
        tv_weight: weight of the total variation in the final restoration.
    Returns:
        The restored image on the observation's pixels and the PSF (psf_size, psf_size), its barycentre in the middle.
    Raises:
        ValueError: an image that check_image refuses, or a setting out of range.
        DivergedError: the result is not finite.
    """
    del seed
    observed = check_image(image, psf_size)
    positive = {"lam": lam, "lam_min": lam_min, "gamma": gamma, "iterations": iterations, "tv_weight": tv_weight}
    _check_settings(positive, decay, kernel_step, threshold, noise_std)
    low, span = observed.min(), observed.max() - observed.min()
    y = data = (observed - low) / span
    if noise_aware:
        std = float(noise_std_of(y)) if noise_std is None else noise_std / float(span)
        std = max(std, _NOISE_FLOOR)
        lam_min, gamma = 0.5 * std, 200 * std
        data = denoised(y, std)

    def kernel(u: Tensor, v: Tensor, size: int) -> Tensor:
        if kernel_step == "basic":
            return basic_kernel(u, v, size, gamma, threshold)
        return iterative_kernel(u, v, size, gamma)

    levels = pyramid(_closed(y, psf_size), psf_size)
    u = levels[-1][0]
    for v, size in reversed(levels):
        u = _resized(u, v.shape, "bicubic")
        lam = max(lam, lam_min)
        psf = kernel(u, v, size)
        for turn in range(iterations):
            u = l0_image(v, psf, lam) if turn == 0 else l0_image(v, psf, lam, start=u, beta=0.05, growth=5.0)
            psf = kernel(u, v, size)
            lam = max(lam * decay, lam_min)
    return Estimate(image=low + span * tv_final(data, psf, 2 / tv_weight), psf=psf)


def pyramid(image: Tensor, psf_size: int) -> list[tuple[Tensor, int]]:
    """Image (H, W) and odd PSF side at each scale, finest first: halved until the PSF would be below 3 pixels."""
    levels = [(image, psf_size)]
    while (psf_size := (psf_size // 2) | 1) >= 3 and psf_size < levels[-1][1]:
        H, W = levels[-1][0].shape
        half = -(-H // 2), -(-W // 2)
        # A pixel of the next scale covers f_r × f_c of this one.
        std = 1.6 * math.sqrt((H / half[0] * W / half[1] - 1) / 3)
        levels.append((_resized(_gaussian(levels[-1][0], std), half, "bilinear"), psf_size))
    return levels


def l0_image(
    v: Tensor, psf: Tensor, lam: float, *, start: Tensor | None = None, beta: float | None = None, growth: float = 2.0
) -> Tensor:
    """A low value of ‖k ⋆ u − v‖² + λ‖∇u‖₀ on a torus, by half-quadratic splitting.

    ‖∇u‖₀ counts the pixels whose forward differences to the right and down are not both zero. For growing β, g = ∇u
    where |∇u|² ≥ λ/β and 0 elsewhere, then u = argmin ‖k ⋆ u − v‖² + β‖∇u − g‖².

    Args:
        v: (H, W), the data.
        psf: (h, w), odd sides.
        lam: λ > 0, in squared intensity.
        start: (H, W), first u; None starts from the data.
        beta: first β; None takes 2λ.
        growth: factor on β after each turn, until it exceeds 1e5.
    Source: Xu, Lu, Xu and Jia, SIGGRAPH Asia 2011 (the splitting); Pan et al. 2014.
    """
    u = v if start is None else start
    beta = 2 * lam if beta is None else beta
    otf, edges = transfer_function(psf, size_of(v)), laplacian(v)
    data, energy = otf.conj() * torch.fft.rfft2(v), otf.real.square() + otf.imag.square()
    while beta < _BETA_END:
        right, down = u.roll(-1, 1) - u, u.roll(-1, 0) - u
        keep = right.square() + down.square() >= lam / beta
        u = _nearest(data, energy, edges, beta, right * keep, down * keep)
        beta *= growth
    return u


def tv_final(y: Tensor, psf: Tensor, weight: float) -> Tensor:
    """The last restoration: a low value of TV(u) + weight/2·‖k ⋆ u − y‖² by continuation, isotropic TV.

    Six turns with β = 1, 2√2, 8, … < 256; the splitting is not driven to convergence, as published. Borders are
    mirrored by half a PSF and tapered.

    Args:
        y: (H, W) on [0, 1]; psf: (h, w).
    Returns:
        (H, W).
    Source: Anger et al., IPOL 9, 2019; Wang, Yang, Yin and Zhang, SIAM J. Imaging Sci. 1(3), 2008 (the splitting).
    """
    (H, W), (r, c) = y.shape, (side // 2 for side in psf.shape)
    bottom, after = (next_fast_len(n + 2 * m, real=True) - n - m for n, m in ((H, r), (W, c)))
    v = edge_taper(pad(y[None], (c, after, r, bottom), mode="reflect")[0], psf, times=3)
    otf, edges = transfer_function(psf, size_of(v)), laplacian(v)
    data, energy = otf.conj() * torch.fft.rfft2(v), otf.real.square() + otf.imag.square()
    u, beta = v, 1.0
    while beta < 256:
        right, down = u.roll(-1, 1) - u, u.roll(-1, 0) - u
        length = (right.square() + down.square()).sqrt()
        keep = 1 - 1 / (beta * length).clamp_min(1)  # shrinks the length by 1/β, at least to zero
        u = _nearest(data, energy, edges, beta / weight, right * keep, down * keep)
        beta *= 2 * math.sqrt(2)
    return u[r : r + H, c : c + W]


def _nearest(data: Tensor, energy: Tensor, edges: Tensor, beta: float, right: Tensor, down: Tensor) -> Tensor:
    """argmin_u ‖k ⋆ u − v‖² + β‖∇u − (right, down)‖²."""
    divergence = right.roll(1, 1) - right + down.roll(1, 0) - down
    spectrum = torch.add(data, torch.fft.rfft2(divergence), alpha=beta) / torch.add(energy, edges, alpha=beta)
    return torch.fft.irfft2(spectrum, s=size_of(right))


def _closed(y: Tensor, psf_size: int) -> Tensor:
    """y cut to sides that the FFT likes and tapered to close on itself."""
    H, W = (max(_fast_within(n), psf_size) for n in y.shape)
    flat = y.new_full((psf_size, psf_size), 1 / psf_size**2)
    return edge_taper(y[:H, :W], flat)


def _fast_within(n: int) -> int:
    return next(m for m in range(n, 0, -1) if next_fast_len(m, real=True) == m)


def _gaussian(image: Tensor, std_px: float) -> Tensor:
    """image (H, W) blurred on its torus."""
    H, W = image.shape
    rows = torch.fft.fftfreq(H, dtype=image.dtype, device=image.device)
    columns = torch.fft.rfftfreq(W, dtype=image.dtype, device=image.device)
    spectrum = torch.exp(-2 * (torch.pi * std_px) ** 2 * (rows.square()[:, None] + columns.square()))
    return torch.fft.irfft2(spectrum * torch.fft.rfft2(image), s=size_of(image))


def _resized(image: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    if image.shape == size:
        return image
    return interpolate(image[None, None], size=tuple(size), mode=mode, align_corners=False)[0, 0]


def _check_settings(
    positive: dict[str, float], decay: float, kernel_step: str, threshold: float, noise_std: float | None
) -> None:
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(
                f"{name} of the ℓ0-gradient method must be positive; got {value}; leave it out for the published value"
            )
    if not 0 < decay <= 1:
        raise ValueError(f"decay is the factor on λ after each image step, in (0, 1]; got {decay}")
    if kernel_step not in get_args(KernelStep):
        raise ValueError(f"kernel_step is one of {', '.join(get_args(KernelStep))}; got {kernel_step!r}")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is a fraction of the kernel's maximum, in [0, 1); got {threshold}")
    if noise_std is not None and not noise_std >= 0:
        raise ValueError(f"noise_std is a standard deviation, at least 0; got {noise_std}; None estimates it")
