"""What is known of the optics of a channel, and where each number comes from; nothing heavy is imported."""

from dataclasses import dataclass, fields
from typing import Any, Literal

Origin = Literal["told", "file", "image", "assumed"]
"""Said by the user, read from the file's metadata, read from the image itself, or nobody's word."""
_WORDS: dict[Origin, str] = {
    "told": "told",
    "file": "from the file",
    "image": "read from the image",
    "assumed": "assumed",
}


@dataclass(frozen=True)
class Quantity:
    """A number, and where it comes from."""

    value: float
    origin: Origin
    std: float | None = None
    """One standard deviation, where it was measured."""

    @property
    def words(self) -> str:
        return _WORDS[self.origin]

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "from": self.origin} | ({} if self.std is None else {"std": self.std})


@dataclass(frozen=True, kw_only=True)
class ChannelOptics:
    """What is known of the optics of a channel; None where nothing is."""

    cutoff: Quantity | None = None
    """Pupil radius in cycles per pixel; from the file where any number that gives it is."""
    na: Quantity | None = None
    """Numerical aperture."""
    wavelength_nm: Quantity | None = None
    """Of the light in vacuum."""
    pixel_nm: Quantity | None = None
    """Side of a pixel in the sample."""
    index: Quantity | None = None
    """Refractive index of the immersion medium."""

    @classmethod
    def of_lens(
        cls,
        *,
        na: Quantity | None,
        wavelength_nm: Quantity | None,
        pixel_nm: Quantity | None,
        index: Quantity | None = None,
    ) -> "ChannelOptics":
        """With the cutoff NA / wavelength * pixel size, where all three are known."""
        cutoff = None
        if na is not None and wavelength_nm is not None and pixel_nm is not None:
            told = all(one.origin == "told" for one in (na, wavelength_nm, pixel_nm))
            cutoff = Quantity(na.value / wavelength_nm.value * pixel_nm.value, "told" if told else "file")
        return cls(cutoff=cutoff, na=na, wavelength_nm=wavelength_nm, pixel_nm=pixel_nm, index=index)

    @property
    def words(self) -> str:
        """As people read it; of a cutoff that was told nothing but the number."""
        if self.cutoff is None:
            return ""
        said = f"cutoff {self.cutoff.value:.4g}"
        if self.cutoff.std is not None:
            said += f" ± {self.cutoff.std:.2g}"
        if self.na is not None and self.wavelength_nm is not None and self.pixel_nm is not None:
            lens = [(f"NA {self.na.value:g}", self.na), (f"{self.wavelength_nm.value:g} nm", self.wavelength_nm)]
            lens += [(f"pixels of {self.pixel_nm.value:.4g} nm", self.pixel_nm)]
            return f"{said} ({', '.join(f'{what} {one.words}' for what, one in lens)})"
        return said if self.cutoff.origin == "told" else f"{said} ({self.cutoff.words})"

    def as_json(self) -> dict[str, Any]:
        """Of what is known: value and origin."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: one.as_json() for name, one in known.items() if one is not None}

    @classmethod
    def of_json(cls, known: dict[str, Any]) -> "ChannelOptics":
        """What `as_json` made."""
        return cls(**{name: Quantity(one["value"], one["from"], one.get("std")) for name, one in known.items()})


UNKNOWN = ChannelOptics()
SAME_CUTOFF = 0.025
"""Relative: by so much a cutoff may differ from that of a network's training and still count as its own."""


def same_cutoff(optics: ChannelOptics, cutoff: float) -> bool:
    """Whether these optics have this cutoff, as far as they are known."""
    return optics.cutoff is None or abs(optics.cutoff.value / cutoff - 1) <= SAME_CUTOFF
