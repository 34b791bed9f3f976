"""A blur that was identified, and what is known of it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepblur.operators import zernike, zernike_name
from deepblur.platform.models.reliability import Residual
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.scale import Scale

VERDICTS = ("good", "doubtful", "poor")
EMPTY = "empty"
"""In the place of a verdict where there is nothing to judge."""
WAVEFRONT_PX = 129
_PLACES = 100
"""Of outliers, that a report lists."""


@dataclass(frozen=True)
class JudgedBlur:
    """One blur that was identified, and how far it can be trusted."""

    frame: str
    """Which frame of a stack, such as "t=3"; "" in a single image."""
    channel: str
    """Which channel; "" where all share it."""
    found: IdentifiedBlur
    noise_std: float
    """Standard deviation of the noise in the image, in units of its scale."""
    residual: Residual | None
    """None where the frame is empty."""
    flags: tuple[str, ...]
    """What lies outside of what the method was made for, a sentence each."""
    verdict: str
    """good, doubtful or poor; empty where every pixel has the same value, and nothing was identified or restored."""
    sentence: str
    noll: tuple[int, ...] = ()
    """Of the modes that γ weighs."""
    places: tuple["LocalBlur", ...] = ()
    """The blur of every tile, where it varies over the field."""
    cutoff: float | None = None
    """In cycles per pixel, for which the PSF was found; None where the method knows none."""
    restored_by: tuple[dict[str, Any], ...] = ()
    """Restorer and strength, for each of the channels that have this blur; none where the strength varies by tile."""
    scale: Scale | None = None
    """In whose units noise and residual are."""
    remarks: tuple[str, ...] = ()
    """What was done to the frame beside, a sentence each; they cast no doubt on the result."""

    outliers: tuple[tuple[int, ...], ...] = ()
    """Row, column, and channel where several share the PSF, of pixels that no lens made and that were replaced."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the modes that γ weighs."""
        return tuple(map(zernike_name, self.noll))

    @property
    def place(self) -> str:
        """Frame and channel as people read them."""
        return ", ".join(part for part in (self.frame, self.channel) if part)

    def as_json(self) -> dict[str, Any]:
        """Plain values; the PSF is a file of its own."""
        gamma, std = self.found.gamma, self.found.gamma_std
        modes = [
            {
                "noll": noll,
                "name": name,
                "waves": _number(gamma[k]),
                "std_waves": None if std is None else _number(std[k]),
            }
            for k, (noll, name) in enumerate(zip(self.noll, self.names, strict=True))
            if gamma is not None
        ]
        return {
            "frame": self.frame,
            "channel": self.channel,
            "cutoff": self.cutoff,
            "gamma": modes,
            "gamma_std_calibrated": self.found.calibrated,
            "agreement_db": self.found.agreement_db,
            "noise_std": self.noise_std,
            "scale": None if self.scale is None else asdict(self.scale),
            "restored_by": list(self.restored_by),
            "residual": None
            if self.residual is None
            else {
                "whiteness": self.residual.whiteness if math.isfinite(self.residual.whiteness) else None,
                "rms": self.residual.rms,
                "explained": self.residual.explained,
                "sentence": self.residual.sentence,
            },
            "flags": list(self.flags),
            "outliers": {"count": len(self.outliers), "places": [list(at) for at in self.outliers[:_PLACES]]},
            "remarks": list(self.remarks),
            "verdict": self.verdict,
            "sentence": self.sentence,
            "field": [place.as_json() for place in self.places],
        }


def _number(value: Tensor) -> float | None:
    return round(float(value), 6) if torch.isfinite(value) else None


@dataclass(frozen=True)
class LocalBlur:
    """The blur of one tile."""

    row: int
    column: int
    """Of the tile's middle, in pixels of the image."""
    found: IdentifiedBlur

    def as_json(self) -> dict[str, Any]:
        gamma = self.found.gamma
        waves = None if gamma is None else [round(float(g), 6) for g in gamma]
        return {"row": self.row, "column": self.column, "waves": waves}


def wavefront(noll: Sequence[int], gamma: Tensor, size_px: int = WAVEFRONT_PX) -> np.ndarray:
    """(size_px, size_px) float32 in waves: Σ γ_k Z_k over the unit disc, NaN outside; rows as those of the PSF.

    Args:
        noll: K Noll indices.
        gamma: (K,), in waves.
    """
    side = torch.linspace(-1, 1, size_px, dtype=torch.float64)
    v, u = torch.meshgrid(side, side, indexing="ij")
    waves = torch.tensordot(gamma.double(), zernike(list(noll), u, v), dims=1)
    return torch.where(u**2 + v**2 <= 1, waves, torch.nan).float().numpy()


def with_outliers(blur: JudgedBlur, places: Sequence[tuple[int, ...]]) -> JudgedBlur:
    """The blur of a frame in which the pixels at these places were replaced."""
    if not places:
        return blur
    shown = ", ".join(str(place) for place in places[:_SHOWN]) + ", …" * (len(places) > _SHOWN)
    words = "1 pixel stands" if len(places) == 1 else f"{len(places)} pixels stand"
    sentence = f"{words} out more sharply than any PSF and {'was' if len(places) == 1 else 'were'} replaced: {shown}"
    return replace(blur, outliers=tuple(places), remarks=(*blur.remarks, sentence))


_SHOWN = 5
