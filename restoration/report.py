"""What was done to an image, and how far to trust it: what the report beside a result says."""

from dataclasses import dataclass, field
from importlib.metadata import version
from platform import python_version
from typing import Any

from deepblur._version import __version__
from deepblur.restoration.blurs import VERDICTS, JudgedBlur
from deepblur.restoration.engines.optics import ChannelOptics

FORMAT, VERSION = "deepblur-report", 4
"""The version is part of what makes a result the same: older ones are not kept."""


@dataclass(frozen=True)
class Report:
    """What was done to an image, and how far to trust it."""

    made_by: dict[str, Any]
    """Method, restorer, optics and model: `Engine.described`."""
    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale_rule: str
    blurs: tuple[JudgedBlur, ...]
    tiles: int
    """Per channel of a frame."""
    seconds: float
    notes: tuple[str, ...] = ()
    """About the command."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the user asked for, as plain values."""
    about_file: tuple[str, ...] = ()
    """`Recording.notes`."""

    @property
    def method(self) -> str:
        return self.made_by["method"]

    @property
    def restorer(self) -> str:
        return self.made_by["restorer"]

    @property
    def cutoff(self) -> str:
        """In words, with where its numbers come from; "" where the method knows none."""
        return cutoff_in_words(self.made_by["optics"])

    @property
    def verdict(self) -> str:
        """good, doubtful or poor: the worst of all blurs."""
        return max((blur.verdict for blur in self.judged), key=VERDICTS.index)

    @property
    def judged(self) -> tuple[JudgedBlur, ...]:
        """The blurs of frames that are not empty; there is one."""
        return tuple(blur for blur in self.blurs if blur.verdict in VERDICTS)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know about the file, and what was done beside, with the frame that it was done to."""
        several = len(self.blurs) > 1
        beside = ((blur.place if several else "", remark) for blur in self.blurs for remark in blur.remarks)
        return *self.about_file, *(f"{place}: {remark}" if place else remark for place, remark in beside)

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        worst = next(blur for blur in self.blurs if blur.verdict == self.verdict)
        return f"{worst.sentence} ({worst.place})" if worst.place and len(self.blurs) > 1 else worst.sentence

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "deepblur": __version__,
            "versions": versions(),
            **self.made_by,
            "options": self.options,
            "image": {"axes": self.axes, "shape": list(self.shape), "dtype": self.dtype},
            "scale": self._scale(),
            "verdict": self.verdict,
            "sentence": self.sentence,
            "notes": list(self.notes),
            "remarks": list(self.remarks),
            "blurs": [blur.as_json() for blur in self.blurs],
            "tiles": self.tiles,
            "seconds": round(self.seconds, 3),
        }

    def _scale(self) -> dict[str, Any]:
        """That of the frames together: each has its own."""
        scales = [blur.scale for blur in self.judged if blur.scale is not None]
        return {
            "rule": self.scale_rule,
            "black": min(scale.black for scale in scales),
            "white": max(scale.white for scale in scales),
            "saturated": sum(scale.saturated for scale in scales) / len(scales),
        }


def cutoff_in_words(optics: dict[str, Any]) -> str:
    """Of a report's `optics`, as `Engine.described` says them; the channels' one after another."""
    return "; ".join(dict.fromkeys(ChannelOptics.of_json(known).words for known in optics.get("known", ())))


def versions() -> dict[str, str]:
    """Of what computes the numbers."""
    return {"python": python_version()} | {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")}
