"""The PSFs that one stack of beads shows: cut out, normalised, without the beads' own size."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from deepblur.platform.optics.beads import Beads, Finding, bead_transfer, find_beads
from deepblur.platform.optics.field_maps import FieldModel
from deepblur.platform.optics.stack import BeadStack
from deepblur.platform.system.errors import InputError

_LIGHT_INSIDE = 0.5
"""Of a bead's light in focus; planes where less falls into the patches show what lies outside of them, not the PSF."""
_REMEDY = {
    "truncated": "take beads that are not at the border, or a smaller --psf-size",
    "saturated": "expose shorter",
    "dim": "expose longer, or lower --min-snr",
    "overlapping": "dilute the beads, or take a smaller --psf-size",
    "unlike": "clean the slide, or lower --likeness",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a calibration is made."""

    finding: Finding = field(default_factory=Finding)
    eigen_psfs: int | None = None
    """I; None: as many as explain `explained` of the energy that is not noise, at most 8."""
    space_maps: int | None = None
    """J; None: as many as explain `explained` of the coefficient maps' energy, at most 8."""
    explained: float = 0.99
    field_model: FieldModel = "spline"
    brightness: Literal["bead", "stack"] = "bead"
    """bead: every PSF has the sum 1, so that maps show its shape alone. stack: beads of a stack are equally bright, so
    that maps show vignetting too."""
    bead_um: float | None = None
    """Diameter of the beads, which is then deconvolved; None: they are points."""
    z_range_um: float | None = None
    """Only planes this far from the focus; None: all."""

    def __post_init__(self) -> None:
        if not 0 < self.explained < 1:
            raise ValueError(f"explained is a fraction between 0 and 1; got {self.explained}")
        for name, value in (
            ("z-range", self.z_range_um),
            ("bead-um", self.bead_um),
            ("eigen-psfs", self.eigen_psfs),
            ("space-maps", self.space_maps),
            ("min-snr", self.finding.min_snr),
        ):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{name} must be above 0; got {value:g}")


@dataclass(frozen=True, eq=False)
class Measured:
    """The PSFs of one stack."""

    name: str
    beads: Beads
    places: np.ndarray
    """(N, 2) of the beads, in the field's unit."""
    psfs: np.ndarray
    """(P, N, h, w): of every state and bead, sum 1, up to vignetting."""
    noise: np.ndarray
    """(P, N) standard deviation of their noise."""
    states: tuple[str, ...]
    """(P,) names."""
    note: str = ""
    """What the user should know of it."""

    def subset(self, chosen: np.ndarray) -> "Measured":
        return replace(self, places=self.places[chosen], psfs=self.psfs[:, chosen], noise=self.noise[:, chosen])


def measure(stack: BeadStack, settings: Settings) -> Measured:
    """The PSFs of the good beads of a stack.

    Raises:
        InputError: one plane only, no usable bead, or an unknown plane distance or pixel that a setting needs.
    """
    if len(stack.planes) < 2:
        raise InputError(
            f"{stack.name}: has a single plane; a calibration needs a z-stack through the focus (about 0.2 µm a step)"
        )
    if min(stack.field_px) < settings.finding.psf_size + 2:
        raise InputError(
            f"{stack.name}: {stack.field_px[0]}x{stack.field_px[1]} pixels cannot hold PSFs of "
            f"{settings.finding.psf_size} pixels; take a smaller --psf-size"
        )
    beads = find_beads(stack, settings.finding)
    if not len(beads):
        raise InputError(f"{stack.name}: {_none_found(beads)}")
    flux = beads.patches.sum((-2, -1))  # (Z, N)
    focus = flux[beads.sharpest, np.arange(len(beads))]
    if focus.min() <= 0:
        raise InputError(
            f"{stack.name}: {int((focus <= 0).sum())} beads are darker than the background around them; these are no "
            "fluorescent beads, or raise --min-snr"
        )
    chosen = _planes(stack, beads, settings.z_range_um)
    inside = chosen[np.median(flux[chosen] / focus, axis=1) >= _LIGHT_INSIDE]
    note = ""
    if len(inside) < len(chosen):
        note = (
            f"{stack.name}: {len(chosen) - len(inside)} of {len(chosen)} planes are left out, where less than half of "
            f"the light falls into PSFs of {settings.finding.psf_size} pixels; a larger --psf-size keeps more of them"
        )
    chosen = inside
    flux = np.maximum(flux[chosen], _LIGHT_INSIDE / 2 * focus)
    if settings.brightness == "stack":
        flux = np.median(flux, axis=1, keepdims=True) * np.ones_like(flux)
    psfs = beads.patches[chosen] / flux[..., None, None]
    noise = beads.noise / flux
    if settings.bead_um:
        if not stack.pixel_um:
            raise InputError(f"{stack.name}: does not say its pixel size, which --bead-um needs; give --pixel-um")
        psfs, gain = without_bead(psfs, settings.bead_um / stack.pixel_um, stack.name)
        noise = noise * gain
    step = stack.z_um or 1.0
    middle = float(np.median(beads.sharpest))
    unit = "µm" if stack.z_um else "planes"
    states = tuple(f"{stack.name} {(z - middle) * step:+.2f} {unit}" for z in chosen)
    places = (2 * beads.centres + 1) / np.array(stack.field_px) - 1
    return Measured(stack.name, beads, places, psfs, noise, states, note)


def _planes(stack: BeadStack, beads: Beads, z_range_um: float | None) -> np.ndarray:
    every = np.arange(len(stack.planes))
    if z_range_um is None:
        return every
    if not stack.z_um:
        raise InputError(f"{stack.name}: does not say how far its planes are apart, which --z-range needs; give --z-um")
    near = np.abs(every - np.median(beads.sharpest)) * stack.z_um <= z_range_um + 1e-9
    return every[near]


def _none_found(beads: Beads) -> str:
    counts = {reason: len(c) for reason, c in beads.rejected.items() if len(c)}
    if not counts:
        return "no bead was found: nothing stands out of the background; is this a stack of point-like beads?"
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts.items())
    return (
        f"none of {sum(counts.values())} beads can be used ({reasons}); {_REMEDY[max(counts, key=counts.__getitem__)]}"
    )


def without_bead(psfs: np.ndarray, diameter_px: float, name: str) -> tuple[np.ndarray, float]:
    """Patches (..., h, w) of beads of that diameter → of points, and by how much white noise grew.

    The bead's transfer function is undone at the frequencies up to which the patches' power stands out of the noise.

    Raises:
        InputError: the bead is so large that it hides frequencies that the PSF needs.
    """
    n = psfs.shape[-1]
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None])
    bead = bead_transfer(n, diameter_px)
    spectra = np.fft.fft2(psfs)
    power = np.square(np.abs(spectra)).reshape(-1, n, n).mean(0)
    floor = np.median(power[frequency > 0.45])
    needed = power > 2 * floor + 1e-8 * power.max()
    band = frequency <= frequency[needed].max() if needed.any() else frequency <= 0
    if bead[band].min() < 0.2:
        most = 0.85 / frequency[band].max()
        raise InputError(
            f"{name}: beads of {diameter_px:.1f} pixels hide what the PSF needs; take beads of at most {most:.1f} "
            "pixels, or leave out --bead-um and accept their blur"
        )
    inverse = np.where(band, 1 / np.where(band, bead, 1), 1.0)
    return np.fft.ifft2(spectra * inverse).real.astype(psfs.dtype), float(np.sqrt(np.square(inverse).mean()))
