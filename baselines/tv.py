"""Total-variation deconvolution on a torus, batched, and the taper that turns a photograph into one.

Shapes: B batch, (H, W) image, (h, w) PSF with odd sides whose middle pixel is the origin. Batches of 1 broadcast.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from deepblur.operators import transfer_function
from deepblur.operators.convolution import full_precision


def edge_taper(image: Tensor, psf: Tensor, times: int = 1) -> Tensor:
    """Blend the border with the circularly blurred image, so that the image closes on itself without a jump.

    A pixel keeps the weight (1 − a_r)(1 − a_c) of itself, where a_r and a_c are the autocorrelations of the PSF's
    projections on rows and columns, 1 at lag 0, at its distance from the nearer edge. Pixels at least h rows and w
    columns inside stay as they are.

    Args:
        image: (..., H, W).
        psf: (..., h, w), sum 1; leading axes broadcast with the image's.
        times: repetitions; each makes the join smoother.
    Returns:
        (..., H, W), within the range of the image where the PSF is not negative.
    Raises:
        ValueError: times is below 1, the PSF has an even side or is larger than the image.
    Source: the edge taper of image processing toolboxes; Reeves, IEEE TIP 14(10), 2005, for the need of it.
    """
    if times < 1:
        raise ValueError(f"edge_taper repeats at least once; got times={times}; leave the call out to keep the edges")
    image = full_precision(image)
    psf = psf.to(image)
    H, W = image.shape[-2:]
    otf = transfer_function(psf, (H, W))
    inside = _inside(psf.sum(-1), H)[..., :, None] * _inside(psf.sum(-2), W)[..., None, :]
    for _ in range(times):
        blurred = torch.fft.irfft2(otf * torch.fft.rfft2(image), s=(H, W))
        image = blurred + inside * (image - blurred)
    return image


def split_bregman_tv(
    images: Tensor, psfs: Tensor, *, weight: float | Tensor, iterations: int = 20, penalty: float | Tensor = 400.0
) -> Tensor:
    """argmin_u TV(u) + weight/2·‖h ⋆ u − y‖², isotropic TV, on a torus.

    Each iteration shrinks the gradients by 1/penalty, solves for u in Fourier and updates the Bregman variable; it
    starts from u = y.

    Args:
        images: (B, H, W), the data y.
        psfs: (B, h, w), sum 1.
        weight: of the data, scalar or (B,); with intensities in [0, 1] a few thousand suit noise of 0.01.
        iterations: 20 are enough for the eye; convergence to many digits takes hundreds.
        penalty: of the splitting, scalar or (B,), changes the speed but not the limit.
    Returns:
        (B, H, W).
    Raises:
        ValueError: other shapes, batches that do not broadcast, a weight, penalty or number of iterations that is not
            positive, or a PSF with an even side or larger than the images.
    Source: Goldstein and Osher, SIAM J. Imaging Sci. 2(2), 2009; Getreuer, IPOL 2, 2012 (deconvolution).
    """
    if images.ndim != 3 or psfs.ndim != 3 or (images.shape[0] != psfs.shape[0] and 1 not in (len(images), len(psfs))):
        raise ValueError(
            f"TV takes images (B, H, W) and PSFs (B, h, w) of one batch size, or 1; got {tuple(images.shape)} and "
            f"{tuple(psfs.shape)}; add or repeat the batch axis"
        )
    if iterations < 1:
        raise ValueError(f"split Bregman takes at least one iteration; got iterations={iterations}")
    images = full_precision(images)
    size = (images.shape[-2], images.shape[-1])
    batch = max(len(images), len(psfs))
    weight, penalty = _per_image("weight", weight, images, batch), _per_image("penalty", penalty, images, batch)
    otf = transfer_function(psfs.to(images), size)
    data = weight * otf.conj() * torch.fft.rfft2(images)
    inverse = 1 / (weight * (otf.real.square() + otf.imag.square()) + penalty * laplacian(images))
    u, dual_r, dual_c = images, torch.zeros_like(images), torch.zeros_like(images)
    for _ in range(iterations):
        # With g = ∇u + b: the shrunken gradient is d = g − b', the new Bregman variable b' = g cut to length 1/penalty.
        g_r = u.roll(-1, -2).sub_(u).add_(dual_r)
        g_c = u.roll(-1, -1).sub_(u).add_(dual_c)
        cut = (penalty * (g_r.square() + g_c.square()).sqrt()).clamp(min=1).reciprocal()
        dual_r, dual_c = g_r * cut, g_c * cut
        p_r, p_c = g_r - 2 * dual_r, g_c - 2 * dual_c  # d − b'
        divergence = p_r.roll(1, -2) - p_r + p_c.roll(1, -1) - p_c
        u = torch.fft.irfft2((data + penalty * torch.fft.rfft2(divergence)) * inverse, s=size)
    return u


def _inside(projection: Tensor, size: int) -> Tensor:
    """(..., n) → (..., size): 0 at the ends, 1 from n pixels on, by the projection's autocorrelation."""
    n = projection.shape[-1]
    power = torch.fft.rfft(projection, 2 * n).abs().square()
    lags = torch.fft.irfft(power, 2 * n)[..., :n]
    near = pad(lags / lags[..., :1], (0, size - n))
    return 1 - torch.maximum(near, near.flip(-1))


def laplacian(images: Tensor) -> Tensor:
    """(H, W // 2 + 1): Σ_d |D̂_d|² of the circular differences along rows and columns of images (..., H, W)."""
    H, W = images.shape[-2:]
    rows = torch.fft.fftfreq(H, dtype=images.dtype, device=images.device)
    columns = torch.fft.rfftfreq(W, dtype=images.dtype, device=images.device)
    return 4 * ((torch.pi * rows).sin().square()[:, None] + (torch.pi * columns).sin().square())


def _per_image(name: str, value: float | Tensor, images: Tensor, batch: int) -> Tensor:
    if not isinstance(value, Tensor) and not value > 0:
        raise ValueError(f"{name} must be positive; got {value}")
    tensor = torch.as_tensor(value, dtype=images.dtype, device=images.device)
    if tensor.ndim > 1 or tensor.numel() not in (1, batch):
        raise ValueError(f"{name} is one number or one per image, ({batch},); got shape {tuple(tensor.shape)}")
    return tensor.reshape(-1, 1, 1)
