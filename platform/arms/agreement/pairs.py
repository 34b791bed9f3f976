"""Which parts of which recordings are held against one another, and how like their PSFs are."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from deepblur.baselines.agreement import agreement_db

EXPOSURE = re.compile(r"_(high|low)snr")
"""What tells two exposures of one field apart, in the names of their files."""
FRAME = re.compile(r"_frame(\d+)")
"""What tells the frames of one recording apart, in the names of their files."""
KINDS = ("quarters", "exposures", "frames")
"""Of pairs: within a frame; of whole frames, two exposures of one field, and successive frames of one recording."""
PARTS = ("quarter 1", "quarter 2", "quarter 3", "quarter 4", "all")
WHOLE = 4
VERDICTS = ("good", "doubtful", "poor")


class Found(NamedTuple):
    """What one method found in one recording, as `agreement.carry_out` keeps it."""

    psfs: np.ndarray
    gammas: np.ndarray
    image: np.ndarray
    verdicts: np.ndarray
    reasons: np.ndarray


def pairs(found: Mapping[str, Found], bound: float) -> Iterator[dict[str, Any]]:
    """A row per pair of parts: the quarters of each recording, the exposures of each field, and successive frames.

    Its columns are kind, image, field (what exposures and frames of one scene have in common), pair, and agreement_db
    and at_bound, NaN where a PSF or γ was not found.

    Args:
        found: image → what was found.
        bound: |γ| from which a coefficient is at the bound of the search, in waves.
    """

    def row(kind: str, image: str, pair: str, one: tuple[str, int], other: tuple[str, int]) -> dict[str, Any]:
        psfs, gammas = ([getattr(found[name], what)[part] for name, part in (one, other)]
                        for what in ("psfs", "gammas"))  # fmt: skip
        known, stated = np.isfinite(psfs).all(), np.isfinite(gammas).all()
        return {
            "kind": kind,
            "image": image,
            "field": field_of(image),
            "pair": pair,
            "agreement_db": agreement_db(*map(torch.from_numpy, psfs)) if known else np.nan,
            "at_bound": float(np.mean(np.abs(gammas) >= bound)) if stated else np.nan,
        }

    for image in found:
        for i, k in combinations(range(4), 2):
            yield row("quarters", image, f"quarters {i + 1} and {k + 1}", (image, i), (image, k))
    for field, images in _grouped(EXPOSURE, found).items():
        for one, other in combinations(images, 2):
            yield row("exposures", field, "exposures", (one, WHOLE), (other, WHOLE))
    for recording, images in _grouped(FRAME, found).items():
        numbers = {int(mark[1]): image for image in images if (mark := FRAME.search(image))}
        for first, second in pairwise(sorted(numbers)):
            parts = (numbers[first], WHOLE), (numbers[second], WHOLE)
            yield row("frames", recording, f"frames {first} and {second}", *parts)


def field_of(image: str) -> str:
    """The name of what exposures and frames show alike, and of any other image itself."""
    return FRAME.sub("", EXPOSURE.sub("", image))


def _grouped(mark: re.Pattern[str], images: Iterable[str]) -> dict[str, list[str]]:
    """Name without the mark → the images that have it and differ in it alone."""
    groups: dict[str, list[str]] = {}
    for image in images:
        if mark.search(image):
            groups.setdefault(mark.sub("", image), []).append(image)
    return groups


def judged(found: Mapping[str, Found]) -> Iterator[dict[str, Any]]:
    """A row per part with its verdict and why; both empty where there is none."""
    for image, recording in found.items():
        for part, verdict, why in zip(PARTS, recording.verdicts, recording.reasons, strict=True):
            yield {"image": image, "part": part, "verdict": str(verdict), "why": str(why)}
