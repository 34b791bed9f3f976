"""What is measured on: noise levels and PSF complexities of a fixed grid, or real images as they are."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseLevel:
    """One noise setting of an evaluation grid: Var b = gain·s + read_std², images in [0, 1].

    Raises:
        ValueError: no name, or a gain or read noise that is negative or infinite.
    """

    name: str
    """As people read it in tables and figures."""
    gain: float
    """Variance per unit of signal, white being 1."""
    read_std: float
    """Standard deviation of the part that does not depend on the signal, white being 1."""

    def __post_init__(self) -> None:
        if not self.name or not all(0 <= value < math.inf for value in (self.gain, self.read_std)):
            raise ValueError(f"a noise level has a name, and gain and read noise of at least 0; got {self}")

    @property
    def std(self) -> float:
        """Standard deviation of the noise on a signal of one half, in units of intensity."""
        return math.sqrt(0.5 * self.gain + self.read_std**2)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The fixed evaluation grid: every arm sees the same images, crops, operators and noise draws.

    Raises:
        ValueError: no noise level, no η, or one that is negative.
    """

    noise: tuple[NoiseLevel, ...]
    """The levels, each crossed with every η."""
    eta_waves: tuple[float, ...]
    """PSF complexities η: the largest coefficient, in waves; at 0 the lens is ideal."""
    images: int
    """How many test images at most, the first ones of the test source."""
    draws: int
    """Crops per image; each comes with its own γ and noise, the same in every noise × η cell up to scale."""
    crop_px: int
    """Side of a crop, which is the observation's."""
    seed: int = 0
    """Of crops, γ and noise."""
    limit_s: float = 600.0
    """A draw on which a compared method takes longer counts as timed out."""

    def __post_init__(self) -> None:
        if not self.noise or not self.eta_waves or not all(0 <= eta < math.inf for eta in self.eta_waves):
            raise ValueError(
                f"a grid needs a noise level and PSF complexities η ≥ 0; got {self.noise}, {self.eta_waves}"
            )


@dataclass(frozen=True, kw_only=True)
class RealImages:
    """Images of the test source as they are: observations whose truth nobody knows."""

    images: int
    """How many at most, the first ones of the test source."""
    crop_px: int
    """At most this many rows and columns, from the middle."""
    seed: int = 0
    """Of methods that draw at random."""
    limit_s: float = 600.0
    """An image on which a method takes longer counts as timed out."""
