"""Figures of merit: how one is read and written, and one of a study's own, with the function that computes it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Score = Callable[[Tensor, Tensor], float]
"""(restored (H, W), sharp (H, W)), float32 on the CPU, intensity in [0, 1] but for overshoot → number."""


@dataclass(frozen=True)
class Measure:
    """How one figure of merit is read and written."""

    label: str
    unit: str
    decimals: int
    higher_is_better: bool = True
    signed: bool = False

    @property
    def axis(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def words(self) -> dict[str, Any]:
        """As an `Answer` takes them."""
        names = ("label", "unit", "decimals", "higher_is_better")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Metric:
    """A measure of a study's own for restored images, beside PSNR and SSIM.

    Raises:
        ValueError: the function has no name that a column can have.
    """

    score: Score
    """A function at the top of a file; borders of half a PSF are cut from what it is given. Its name is the column."""
    label: str = ""
    """As people read it; default: the function's name."""
    unit: str = ""
    """Of the score; "" for a ratio or a count."""
    decimals: int = 3
    """Of its means."""
    higher_is_better: bool = True
    """Whether a larger score is a better one, which decides between yes and no."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"a metric is a function with a name, which names its column; got {self.name}")

    @property
    def name(self) -> str:
        return name_of(self.score)

    @property
    def measure(self) -> Measure:
        return Measure(self.label or self.name, self.unit, self.decimals, self.higher_is_better)


def name_of(score: Score) -> str:
    """The column of a score."""
    return getattr(score, "__name__", type(score).__name__)


def scores_of(scores: Sequence[Score], image: Tensor, sharp: Tensor, border: int) -> dict[str, list[float]]:
    """Column → a study's own score of every image, which is (B, 1, H, W) and loses `border` pixels on all sides.

    Raises:
        ValueError: a score is not a finite number.
    """
    found: dict[str, list[float]] = {}
    inside = slice(border, -border or None)
    for score in scores:
        pairs = zip(*(batch[:, 0, inside, inside].float().cpu() for batch in (image, sharp)), strict=True)
        found[name_of(score)] = values = [float(score(restored, truth)) for restored, truth in pairs]
        if bad := [value for value in values if not math.isfinite(value)]:
            raise ValueError(f"the metric {name_of(score)} gives {bad[0]} for an image; it must give finite numbers")
    return found
