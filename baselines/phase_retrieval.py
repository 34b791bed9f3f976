"""Compact non-negative kernels from the modulus of their Fourier transform."""

import math

import torch
from torch import Tensor


def random_starts(modulus: Tensor, tries: int, rng: torch.Generator) -> Tensor:
    """(tries, n, n): images with the given modulus and uniformly random phases, their real part taken.

    Args:
        modulus: (n, n // 2 + 1), in the layout of rfft2, n odd.
        rng: on the CPU, so that a seed gives the same tries on every device.
    """
    n = modulus.shape[0]
    phase = 2 * math.pi * torch.rand(tries, *modulus.shape, generator=rng, dtype=torch.float64)
    return torch.fft.irfft2(torch.polar(modulus.expand_as(phase), phase.to(modulus)), s=(n, n))


def retrieve_phase(modulus: Tensor, psf_size: int, starts: Tensor, iterations: int = 300) -> Tensor:
    """Kernels on psf_size² pixels whose Fourier modulus is about the given one, one for each start.

    Relaxed averaged alternating reflections between two sets: the images with that modulus, and the images that are
    non-negative and vanish outside psf_size² pixels. The modulus is only 95 % enforced, for it is an estimate. The
    kernel's mirror image at the origin has the same modulus, and so have its shifts: each try finds one of them.

    Args:
        modulus: (n, n // 2 + 1), in the layout of rfft2, n > psf_size odd.
        psf_size: side of the support in pixels, odd.
        starts: (B, n, n).
        iterations: reflections.
    Returns:
        (B, psf_size, psf_size), non-negative, sum 1, barycentre in the middle pixel; zero where a try found nothing.
    Source: D. R. Luke, Inverse Problems 21(1), 2005; Goldstein and Fattal, ECCV 2012; Anger et al., IPOL 8, 2018.
    """
    n = modulus.shape[0]
    tiny = torch.finfo(modulus.dtype).tiny
    g = projected = starts
    for m in range(1, iterations + 1):
        beta = 0.75 + 0.25 * (1 - math.exp(-((m / 7) ** 3)))
        spectrum = torch.fft.rfft2(g)
        spectrum = spectrum * (0.95 * modulus / spectrum.abs().clamp_min(tiny) + 0.05)
        projected = torch.fft.irfft2(spectrum, s=(n, n))
        kept = 2 * projected >= g
        kept[:, psf_size:] = False
        kept[:, :, psf_size:] = False
        g = torch.where(kept, projected, beta * g + (1 - 2 * beta) * projected)
    return tidy(projected[:, :psf_size, :psf_size])


def tidy(kernels: Tensor) -> Tensor:
    """Clip, zero what is below 1/255 of the mass, centre by barycentre, normalise; a kernel without mass stays zero."""
    kernels = _normalise(kernels.clamp_min(0))
    kernels = _normalise(torch.where(kernels < 1 / 255, 0.0, kernels))
    return _normalise(_centre(kernels))


def _normalise(kernels: Tensor) -> Tensor:
    return kernels / kernels.sum((-2, -1), keepdim=True).clamp_min(torch.finfo(kernels.dtype).tiny)


def _centre(kernels: Tensor) -> Tensor:
    """Shift (B, n, n) by whole pixels so that the barycentre lies in the middle one; what leaves it is lost."""
    n = kernels.shape[-1]
    place = torch.arange(n, device=kernels.device)
    offset = place - n // 2
    rows = offset + (kernels.sum(-1) @ place.to(kernels)).round().long()[:, None]
    columns = offset + (kernels.sum(-2) @ place.to(kernels)).round().long()[:, None]
    inside = ((rows >= 0) & (rows < n))[:, :, None] & ((columns >= 0) & (columns < n))[:, None]
    items = torch.arange(len(kernels), device=kernels.device)[:, None, None]
    return kernels[items, rows.clamp(0, n - 1)[:, :, None], columns.clamp(0, n - 1)[:, None]] * inside
