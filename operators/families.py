"""Distributions of γ and of noise: what a training set and an evaluation grid are drawn from.

All are plain values; all randomness comes from the generator, on whose device the draws live.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from deepblur.operators.noise import PoissonGaussian


@dataclass(frozen=True)
class UniformGamma:
    """γ_k independent and uniform in [−η, η].

    Raises:
        ValueError: eta_waves is negative or num_parameters is below 1.
    """

    eta_waves: float
    """η, the "PSF complexity", in waves."""
    num_parameters: int
    """K."""

    def __post_init__(self) -> None:
        if not (self.eta_waves >= 0 and self.num_parameters >= 1):
            raise ValueError(
                f"eta_waves must be at least 0 and num_parameters at least 1; got {self.eta_waves} and "
                f"{self.num_parameters}"
            )

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, K), float32, on rng's device."""
        return self.eta_waves * (2 * torch.rand(n, self.num_parameters, generator=rng, device=rng.device) - 1)


@dataclass(frozen=True)
class NoiseRange:
    """Noise of unknown strength: gain and read noise drawn independently for each image.

    Raises:
        ValueError: a range is not 0 ≤ low ≤ high.
    """

    gain: tuple[float, float]
    """Lowest and highest gain, variance per unit of signal; uniform between them."""
    read_std: tuple[float, float]
    """Lowest and highest standard deviation of the read noise, in units of intensity."""
    read_uniform_in: Literal["std", "variance"] = "std"
    """Whether the read noise's standard deviation is uniform between its bounds, or its square is."""
    power: float = 1.0
    """Uniform fractions of the ranges are raised to it: 4 makes half of the draws stay below a sixteenth of the range,
    for networks that should restore nearly clean images as well as noisy ones."""

    def __post_init__(self) -> None:
        for name in ("gain", "read_std"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is a range (low, high) with 0 ≤ low ≤ high; got ({low}, {high})")
            object.__setattr__(self, name, (low, high))
        if self.read_uniform_in not in ("std", "variance"):
            raise ValueError(f"read_uniform_in is 'std' or 'variance'; got {self.read_uniform_in!r}")
        if not self.power > 0:
            raise ValueError(f"power raises fractions of the ranges and must be positive; got {self.power}")

    def sample(self, n: int, rng: torch.Generator) -> PoissonGaussian:
        """Noise with (n,) float32 gains and read_stds on rng's device."""
        a, b = torch.rand(2, n, generator=rng, device=rng.device) ** self.power
        gain = _between(self.gain, a)
        if self.read_uniform_in == "std":
            return PoissonGaussian(gain, _between(self.read_std, b))
        low, high = self.read_std
        return PoissonGaussian(gain, _between((low**2, high**2), b).sqrt())


def _between(bounds: tuple[float, float], fraction: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * fraction


# The paper contradicts itself on its noise (section 2.3 against section 3); the presets carry the readings.
PRINTED = NoiseRange(gain=(0.0, 0.05), read_std=(0.0, math.sqrt(0.15)), read_uniform_in="variance")
"""Section 2.3 to the letter: variance αs + β, α ≤ 0.05, β ≤ 0.15."""
SWAPPED = NoiseRange(gain=(0.0, 0.15), read_std=(0.0, 0.05))
"""Section 3: α ≤ 0.05 is the standard deviation of white noise, β ≤ 0.15 the gain."""
MILD = NoiseRange(gain=(0.0, 0.05), read_std=(0.0, 0.15))
"""Both small: gain ≤ 0.05, read_std ≤ 0.15."""
