"""From sharp crops to observations: the one place that draws γ, blurs and adds noise, in training and evaluation.

Draws come in blocks of `BLOCK` images, each block from its own stream (seed, purpose, step, block). A step's images are
therefore the same whatever the number of workers, as long as every worker gets whole blocks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch import Tensor

from deepblur.operators import Blur, PoissonGaussian
from deepblur.platform.image_store import ImageStore
from deepblur.platform.seeds import generator
from deepblur.platform.stages import Degradation

BLOCK = 8


@dataclass(frozen=True)
class Batch:
    """Observations y with their truth: blurry and sharp (B, 1, H, W) on y's window, gamma (B, K), psf (B, 1, h, w)."""

    blurry: Tensor
    sharp: Tensor
    gamma: Tensor
    psf: Tensor

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
    return Batch(noise(signal, rng), x[..., top : top + h, left : left + w], gamma, operator.psf(gamma))


def draw_block(store: ImageStore, degradation: Degradation, rng: torch.Generator, n: int = BLOCK) -> Batch:
    """n fresh observations: crops with augmentation, γ of the family at η, noise from its range; all from `rng`."""
    operator = degradation.operator
    size = operator.input_size((degradation.crop_px, degradation.crop_px))
    x = store.crops(n, size, rng)
    gamma = operator.at(operator.draw(n, rng), degradation.eta_waves)
    return observe(x, gamma, degradation.noise.sample(n, rng), operator, rng)


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
