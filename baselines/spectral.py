"""Spectral maximum likelihood: γ from the power spectrum of one blurry image, without training.

A blurry image's power spectrum is that of the scene times |Ĥ_γ|², plus a floor of noise. γ has K numbers and a natural
scene's spectrum a few more, so their likelihood given the observed spectrum can be maximised from many starts at once.
"""

import math

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines.estimate import Estimate, check_image
from deepblur.operators import ZernikeBlur, pad_for_circular, transfer_function


def spectral(
    image: np.ndarray | Tensor,
    operator: ZernikeBlur | None = None,
    *,
    psf_size: int = 31,
    seed: int = 0,
    eta_waves: float = 0.15,
    starts: int = 48,
    noise_std: float | None = None,
    seconds: float | None = None,
    steps: int = 250,
    window: int = 128,
) -> Estimate:
    """Estimate the aberrations of a lens from one image, and restore it.

    Args:
        image: (H, W), intensity in [0, 1].
        operator: the family of blurs; None takes ZernikeBlur(psf_size=psf_size).
        psf_size: side of the PSF when no operator is given, in pixels, odd.
        seed: of the random starts.
        eta_waves: the largest coefficient, η, in waves.
        starts: number of starts.
        noise_std: standard deviation of the noise; None estimates it from the frequencies beyond the pupil's reach.
        seconds: wall time after which the search ends with the best γ so far; None does all steps.
        steps: of the optimiser.
        window: side of the windows whose periodograms are averaged, in pixels.
    Returns:
        The restored image, PSF, γ and its spread over the starts.
    """
    family = ZernikeBlur(psf_size=psf_size) if operator is None else operator
    y = check_image(image, family.psf_size)
    rng = torch.Generator().manual_seed(seed)
    n = min(window, *y.shape)
    power = _welch(y, n)
    fy, fx = torch.fft.fftfreq(n), torch.fft.rfftfreq(n)
    radius = torch.hypot(fy[:, None], fx)
    keep = (radius > 0.02) & (radius < min(0.42, 2.1 * family.cutoff))
    twice = torch.where(fx > 0, 2.0, 1.0).expand_as(radius)[keep]
    twice = twice / twice.sum()
    log_r = radius[keep].log()
    angle = torch.atan2(fy[:, None].expand_as(radius), fx.expand_as(radius))[keep]
    c2, s2 = torch.cos(2 * angle), torch.sin(2 * angle)
    observed = power[keep].to(torch.float32)
    pixels = torch.arange(family.psf_size) - family.psf_size // 2
    down = torch.exp(-2j * math.pi * fy[:, None] * pixels)
    across = torch.exp(-2j * math.pi * pixels[:, None] * fx)
    free = torch.randn(starts, family.num_parameters, generator=rng).mul_(0.7).requires_grad_()
    q = torch.tensor([-6.0, 2.0, -9.0, 0.0, 0.0]).repeat(starts, 1).requires_grad_()
    optimiser = torch.optim.Adam([free, q], lr=0.06)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        psf = family.psf(eta_waves * torch.tanh(free))[:, 0]
        transfer = down @ (psf.to(across.dtype) @ across)
        gain = (transfer.real**2 + transfer.imag**2)[:, keep]
        log_scene = q[:, :1] - q[:, 1:2] * log_r + q[:, 3:4] * c2 + q[:, 4:5] * s2
        v = log_scene.exp() * gain + q[:, 2:3].exp()
        loss = ((observed / v + v.log()) * twice).sum(1)
        prior = (q[:, 1] - 2) ** 2 / 0.3**2 + (q[:, 3] ** 2 + q[:, 4] ** 2) / 0.5**2
        loss = loss + 1e-4 * prior
        loss.sum().backward()
        optimiser.step()
        decay.step()
    gamma = eta_waves * torch.tanh(free.detach()[loss.argmin()])
    restored, gamma = _odd_sign(y, family, gamma, math.sqrt(float(q.detach()[loss.argmin(), 2].exp())))
    return Estimate(image=restored, psf=family.psf(gamma[None])[0, 0], gamma=gamma, gamma_std=torch.zeros_like(gamma))


def _welch(y: Tensor, n: int) -> Tensor:
    hop = max(1, n // 4)
    windows = y.unfold(0, n, hop).unfold(1, n, hop).reshape(-1, n, n)
    hann = torch.hann_window(n, dtype=y.dtype)
    taper = hann[:, None] * hann
    taper = taper / taper.square().mean().sqrt()
    windows = windows - windows.mean((-2, -1), keepdim=True)
    return torch.fft.rfft2(windows * taper).abs().square().mean(0) / n**2


def _odd_sign(y: Tensor, family: ZernikeBlur, gamma: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The restored image and γ, after the choice between the PSF and itself turned by 180°."""
    flip = torch.tensor([1.0 if even else -1.0 for even in family.even])
    both = torch.stack([gamma, gamma * flip])
    margin = family.psf_size
    padded = pad_for_circular(y, margin)
    H, W = padded.shape
    transfer = transfer_function(family.psf(both)[:, 0], (H, W))
    frequency2 = torch.fft.fftfreq(H)[:, None] ** 2 + torch.fft.rfftfreq(W) ** 2
    weight = max(0.02, 40 * sigma) * frequency2
    inverse = transfer.conj() / (transfer.abs().square() + weight + 1e-9)
    restored = torch.fft.irfft2(inverse * torch.fft.rfft2(padded), s=(H, W))
    restored = restored[:, margin:-margin, margin:-margin]
    dr, dc = restored.diff(dim=1)[:, :, :-1], restored.diff(dim=2)[:, :-1]
    length = (dr.square() + dc.square()).sqrt()
    sparsity = length.sum((1, 2)) / length.square().sum((1, 2)).sqrt()
    best = int(sparsity.argmin())
    return restored[best], both[best]
