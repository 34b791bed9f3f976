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
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from deepblur.operators import eigen_psfs
from deepblur.platform.optics.field_maps import LEAST_BEADS, NODES, field_maps
from deepblur.platform.optics.measure import Measured, Settings
from deepblur.platform.optics.optics_file import Optics
from deepblur.platform.system.errors import InputError

MOST_PSFS, MOST_MAPS = 8, 8
_SHOWN = 20
"""Explained energies that are kept beyond the chosen dimension, for the plot."""
_HELD_OUT = 5
"""Every fifth bead checks the model that the others gave."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The optics, and what they were made from."""

    optics: Optics
    measured: tuple[Measured, ...]
    notes: tuple[str, ...]
    """What the user should know, a sentence each."""


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
    optics = model.optics(measured, field_px, pixel_um, about)
    return Calibration(optics, tuple(measured), tuple(notes))


@dataclass(frozen=True, eq=False)
class _Model:
    basis: np.ndarray  # (I, h, w)
    maps: np.ndarray  # (J, n, n)
    gammas: np.ndarray  # (S, I·J)
    explained_psfs: np.ndarray
    explained_maps: np.ndarray

    def optics(self, of: Sequence[Measured], field_px: tuple[int, int], pixel_um: float | None, notes: Any) -> Optics:
        arrays = (self.basis, self.maps, self.gammas, self.explained_psfs, self.explained_maps)
        psfs, maps, gammas, explained_psfs, explained_maps = (torch.from_numpy(array).float() for array in arrays)
        states = tuple(state for m in of for state in m.states)
        return Optics(psfs, maps, gammas, explained_psfs, explained_maps, field_px, pixel_um, states, notes)


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
    optics = model.optics(seen, (1, 1), None, {})
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
