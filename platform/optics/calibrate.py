"""From bead stacks to the optics of a microscope: I eigen-PSFs, J spatial maps, and γ of every state.

1. Beads are found in each stack and cut out of all its planes (`beads`).
2. A PCA of all patches gives the eigen-PSFs e_i; a patch is its I coefficients.
3. In every state (a plane of a stack) the coefficients, known at the beads, become smooth maps over the field.
4. A PCA of all those maps gives the spatial maps f_j; a state is its K = I·J coefficients γ.

Source: section 2.1.3 of the paper; Debarnot, Escande, Mangeat and Weiss, "Learning low-dimensional models of
microscopes", IEEE Transactions on Computational Imaging, 2020.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from scipy.special import spherical_jn

from deepblur.operators import eigen_psfs
from deepblur.platform.inference.failures import InputError
from deepblur.platform.optics.beads import Beads, Finding, find_beads
from deepblur.platform.optics.field_maps import LEAST_BEADS, NODES, FieldModel, field_maps
from deepblur.platform.optics.model import Optics
from deepblur.platform.optics.stack import BeadStack

MOST_PSFS, MOST_MAPS = 8, 8
_LIGHT_INSIDE = 0.5
"""Of a bead's light in focus; planes where less falls into the patches show what lies outside of them, not the PSF."""
_SHOWN = 20
"""Explained energies that are kept beyond the chosen dimension, for the plot."""
_HELD_OUT = 5
"""Every fifth bead checks the model that the others gave."""
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
        for name in ("eigen_psfs", "space_maps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1; got {value}")


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


@dataclass(frozen=True, eq=False)
class Calibration:
    """The optics, and what they were made from."""

    optics: Optics
    measured: tuple[Measured, ...]
    notes: tuple[str, ...]
    """What the user should know, a sentence each."""


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


def calibrate(
    measured: Sequence[Measured], settings: Settings, *, field_px: tuple[int, int], pixel_um: float | None
) -> Calibration:
    """The optics of the microscope that gave these stacks.

    Raises:
        InputError: fewer beads or patches than the dimensions that were asked for.
    """
    notes = [m.note for m in measured if m.note]
    counts = [len(m.places) for m in measured]
    fewest = min(counts)
    if settings.space_maps and settings.space_maps > 1 and fewest < max(settings.space_maps, LEAST_BEADS):
        poorest = measured[counts.index(fewest)].name
        raise InputError(
            f"{poorest}: {fewest} beads cannot tell {settings.space_maps} spatial maps (at least "
            f"{max(settings.space_maps, LEAST_BEADS)} are needed); give stacks with more beads, or --space-maps 1"
        )
    patches = sum(m.psfs.shape[0] * m.psfs.shape[1] for m in measured)
    if settings.eigen_psfs and settings.eigen_psfs > patches:
        raise InputError(
            f"{patches} patches cannot tell {settings.eigen_psfs} eigen-PSFs; give more beads or fewer --eigen-psfs"
        )
    if fewest < LEAST_BEADS:
        notes.append(
            f"{fewest} bead{'s' * (fewest > 1)} in a stack are too few to tell how the PSF changes over the field (at "
            f"least {LEAST_BEADS} are needed): the blur is taken to be the same everywhere, J = 1"
        )
    model = _fit(measured, settings)
    held = _held_out(measured, settings, len(model.basis), len(model.maps))
    about: dict[str, Any] = {
        "beads": {m.name: m.beads.tally() for m in measured},
        "field_model": settings.field_model,
        "brightness": settings.brightness,
        "bead_um": settings.bead_um,
        "held_out": held,
        "notes": notes,
    }
    optics = Optics(
        eigen_psfs=torch.from_numpy(model.basis).float(),
        space_maps=torch.from_numpy(model.maps).float(),
        gammas=torch.from_numpy(model.gammas).float(),
        explained_psfs=torch.from_numpy(model.explained_psfs).float(),
        explained_maps=torch.from_numpy(model.explained_maps).float(),
        field_px=field_px,
        pixel_um=pixel_um,
        states=tuple(s for m in measured for s in m.states),
        notes=about,
    )
    return Calibration(optics, tuple(measured), tuple(notes))


@dataclass(frozen=True, eq=False)
class _Model:
    basis: np.ndarray  # (I, h, w)
    maps: np.ndarray  # (J, n, n)
    gammas: np.ndarray  # (S, I·J)
    explained_psfs: np.ndarray
    explained_maps: np.ndarray


def _fit(measured: Sequence[Measured], settings: Settings) -> _Model:
    rows = np.concatenate([m.psfs.reshape(-1, *m.psfs.shape[-2:]) for m in measured])
    most = min(len(rows), rows[0].size)
    basis, total = (t.numpy() for t in eigen_psfs(torch.from_numpy(rows).double(), most))
    of_signal = _without_noise(total)
    count = settings.eigen_psfs or min(MOST_PSFS, _enough(of_signal, settings.explained))
    basis = basis[:count]
    basis = basis * np.where(basis.sum((1, 2)) < 0, -1, 1)[:, None, None]  # the first is a spot of light
    surfaces = np.concatenate([_surfaces(m, basis, settings) for m in measured])  # (S, I, n²)
    flat = surfaces.reshape(-1, NODES**2)
    most = min(flat.shape)
    space, energy = (t.numpy() for t in eigen_psfs(torch.from_numpy(flat.reshape(-1, NODES, NODES)).double(), most))
    few = min(len(m.places) for m in measured) < LEAST_BEADS
    most = settings.space_maps or (1 if few else min(MOST_MAPS, _enough(energy, settings.explained)))
    # constant maps have rank one: asking for more gives maps that are never used
    space = space[:most] * NODES
    space = space * np.where(space.mean((1, 2)) < 0, -1, 1)[:, None, None]
    gammas = np.einsum("sin,jn->sij", surfaces, space.reshape(most, -1)) / NODES**2
    return _Model(basis, space, gammas.reshape(len(gammas), -1), of_signal[:_SHOWN], energy[:_SHOWN])


def _surfaces(measured: Measured, basis: np.ndarray, settings: Settings) -> np.ndarray:
    """(P, I, n²): the coefficients of every state, all over the field; one smoothing for all states of a stack."""
    values = np.einsum("pnhw,ihw->npi", measured.psfs, basis)
    maps = field_maps(measured.places, values.reshape(len(values), -1), settings.field_model)
    return maps.reshape(-1, len(basis), NODES**2)


def states_of(measured: Measured, optics: Optics, settings: Settings) -> torch.Tensor:
    """(P, K) γ of the states of a stack that was not calibrated with: its place in the family of the others."""
    surfaces = _surfaces(measured, optics.eigen_psfs.double().numpy(), settings)
    space = optics.space_maps.double().numpy().reshape(len(optics.space_maps), -1)
    return torch.from_numpy(np.einsum("sin,jn->sij", surfaces, space) / NODES**2).flatten(1).float()


def _without_noise(explained: np.ndarray) -> np.ndarray:
    """The same fractions of the energy that is not noise, whose share per dimension the last half of them shows.

    A PSF holds frequencies below twice the pupil radius only, so that most dimensions of a patch are noise alone.
    """
    each = np.diff(explained, prepend=0.0)
    floor = float(np.median(each[len(each) // 2 :])) if len(each) >= 8 else 0.0
    signal = np.clip(each - floor, 0, None)
    return signal.cumsum() / signal.sum()


def _enough(explained: np.ndarray, wanted: float) -> int:
    return int(np.argmax(explained >= wanted - 1e-12)) + 1


def _held_out(measured: Sequence[Measured], settings: Settings, psfs: int, maps: int) -> dict[str, float] | None:
    """How well the model of the other beads predicts every fifth bead, in dB; None with too few beads."""
    if min(len(m.places) for m in measured) < LEAST_BEADS + 2:
        return None
    seen, unseen = [], []
    for m in measured:
        out = np.random.default_rng(1).permutation(len(m.places)) % _HELD_OUT == 0
        seen.append(m.subset(np.flatnonzero(~out)))
        unseen.append(m.subset(np.flatnonzero(out)))
    model = _fit(seen, Settings(**{**vars(settings), "eigen_psfs": psfs, "space_maps": maps}))
    optics = Optics(
        *(torch.from_numpy(a).float() for a in (model.basis, model.maps, model.gammas, model.explained_psfs,
                                                model.explained_maps)),
        field_px=(1, 1), pixel_um=None, states=tuple(s for m in seen for s in m.states), notes={},
    )  # fmt: skip
    error = energy = noise = 0.0
    first = 0
    for m in unseen:
        gamma = optics.gammas[first : first + len(m.states)]
        first += len(m.states)
        predicted = optics.local_psfs(gamma, torch.from_numpy(m.places)).numpy()
        error += float(np.square(predicted - m.psfs).sum())
        energy += float(np.square(m.psfs).sum())
        noise += float(np.square(m.noise).sum()) * m.psfs[0, 0].size
    return {
        "snr_db": 10 * math.log10(energy / error),
        "snr_of_noise_alone_db": 10 * math.log10(energy / max(noise, 1e-30)),
        "beads": sum(len(m.places) for m in unseen),
    }


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
    told = ", ".join(f"{n} {reason}" for reason, n in counts.items())
    return f"none of {sum(counts.values())} beads can be used ({told}); {_REMEDY[max(counts, key=counts.__getitem__)]}"


def without_bead(psfs: np.ndarray, diameter_px: float, name: str) -> tuple[np.ndarray, float]:
    """Patches (..., h, w) of beads of that diameter → of points, and by how much white noise grew.

    The projection of a sphere has the transfer function 3 j₁(s)/s, s = π · diameter · frequency. It is undone where the
    patches have light: at the frequencies that hold all but a thousandth of their power.

    Raises:
        InputError: the bead is so large that it hides frequencies that the PSF needs.
    """
    n = psfs.shape[-1]
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None])
    s = np.pi * diameter_px * frequency
    bead = np.where(s > 1e-6, 3 * spherical_jn(1, s) / np.where(s > 1e-6, s, 1), 1.0)
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
