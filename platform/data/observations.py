"""From sharp crops to observations: the one place that draws γ, blurs and adds noise, in training and evaluation.

Draws come in blocks of `BLOCK` images, each block from its own stream (seed, purpose, step, block). A step's images are
therefore the same whatever the number of workers, as long as every worker gets whole blocks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
from torch import Tensor

from deepblur.operators import Blur, NoiseRange, PoissonGaussian, ZernikeBlur, noise_std_of
from deepblur.platform.data.store import ImageStore
from deepblur.platform.system.seeds import generator

BLOCK = 8
ERROR_FLOOR, ERROR_POWER = 0.005, 0.25


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """How a sharp crop x becomes an observation y = A(γ)x + b."""

    operator: Blur
    """The family of blur operators, a frozen dataclass of plain values; γ in waves for Zernike modes."""
    eta_waves: float
    """PSF complexity η: for Zernike modes every γ_k is uniform in [−η, η]; see `Blur.draw`."""
    noise: NoiseRange
    """The range that gain and read noise are drawn from, once per image."""
    crop_px: int
    """Side of y; x is larger by what the boundary of the operator needs."""
    gamma_error: float = 0.0
    """Of the γ that DN is given in training, as an identification would: see `gamma_with_errors`."""

    @property
    def zernike(self) -> ZernikeBlur:
        """The operator where it is of the family that models are made of.

        Raises:
            TypeError: it is of another one.
        """
        if not isinstance(self.operator, ZernikeBlur):
            raise TypeError(f"models are made of ZernikeBlur, not of {type(self.operator).__name__}")
        return self.operator


@dataclass(frozen=True)
class Batch:
    """Observations y with their truth: blurry and sharp (B, 1, H, W) on y's window, gamma (B, K), psf (B, 1, h, w);
    given_gamma is the γ (B, K) that a DN is given in training, the truth but for its `Degradation.gamma_error`."""

    blurry: Tensor
    sharp: Tensor
    gamma: Tensor
    psf: Tensor
    given_gamma: Tensor

    @staticmethod
    def concatenate(parts: Iterable["Batch"]) -> "Batch":
        parts = list(parts)
        return Batch(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Batch)))

    def __len__(self) -> int:
        return len(self.gamma)

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(getattr(self, f.name).to(device) for f in fields(Batch)))

    def split(self, size: int) -> list["Batch"]:
        columns = [getattr(self, f.name).split(size) for f in fields(Batch)]
        return [Batch(*column) for column in zip(*columns, strict=True)]


def observe(x: Tensor, gamma: Tensor, noise: PoissonGaussian, operator: Blur, rng: torch.Generator) -> Batch:
    """y = A(γ)x + b for sharp crops x (B, 1, H, W) on the operator's input grid; the truth is cut to y's window."""
    bound = operator.bind(gamma)
    signal = bound.forward(x)
    h, w = signal.shape[-2:]
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return Batch(noise(signal, rng), x[..., top : top + h, left : left + w], gamma, operator.psf(gamma), gamma)


def draw_block(store: ImageStore, degradation: Degradation, rng: torch.Generator, n: int = BLOCK) -> Batch:
    """n fresh observations: crops with augmentation, γ of the family at η, noise from its range; all from `rng`."""
    operator = degradation.operator
    size = operator.input_size((degradation.crop_px, degradation.crop_px))
    x = store.crops(n, size, rng)
    gamma = operator.at(operator.draw(n, rng), degradation.eta_waves)
    batch = observe(x, gamma, degradation.noise.sample(n, rng), operator, rng)
    return replace(batch, given_gamma=gamma_with_errors(batch, degradation, rng)) if degradation.gamma_error else batch


def gamma_with_errors(batch: Batch, degradation: Degradation, rng: torch.Generator) -> Tensor:
    """γ (B, K) with normal errors that grow with the noise: gamma_error·(σ + 0.005)^¼ in units of the η of one.

    So do those of the spectral likelihood: by PSF SNR about 0.085, in waves, up to a noise of 0.4.
    """
    sigma = noise_std_of(batch.blurry)  # (B, 1)
    error = torch.randn(batch.gamma.shape, generator=rng, device=batch.gamma.device)
    spread = degradation.operator.spread
    error = error if spread is None else error * spread.to(error)
    return batch.gamma + degradation.gamma_error * (sigma + ERROR_FLOOR) ** ERROR_POWER * error


def draw_batch(
    store: ImageStore, degradation: Degradation, seed: int, purpose: str, step: int, blocks: range, device: torch.device
) -> Batch:
    """The named blocks of one step; block b of a step is the same on every worker that asks for it."""
    streams = (generator(seed, purpose, step, block, device=device) for block in blocks)
    return Batch.concatenate(draw_block(store, degradation, rng) for rng in streams)


@lru_cache(maxsize=32)
def mean_psf(operator: Blur, eta_waves: float, draws: int = 4096) -> Tensor:
    """The PSF (1, 1, h, w) to guess when nothing is known of γ: the family's mean over `draws` fixed draws."""
    gamma = operator.at(operator.draw(draws, generator(0, "mean psf")), eta_waves)
    parts = [operator.psf(g).sum(0, keepdim=True) for g in gamma.split(256)]
    return torch.stack(parts).sum(0) / draws
