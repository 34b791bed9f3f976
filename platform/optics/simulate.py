"""Bead stacks of a virtual microscope, with their truth: what a calibration is tested on."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
import torch

from deepblur.operators.microscope import Microscope, MicroscopeState
from deepblur.platform.optics.beads import bead_transfer
from deepblur.platform.optics.field_maps import pixel_places
from deepblur.platform.optics.stack import BeadStack, stack_of

_TAIL_PX = 16
"""The light is drawn this much further than the PSF's support, so that patches do not end in nothing."""


@dataclass(frozen=True, kw_only=True)
class Slide:
    """A slide of beads under the microscope, and the camera's exposure."""

    field_px: tuple[int, int] = (512, 512)
    """Rows and columns of the camera."""
    beads: int = 60
    """Their number, or as many as there is room for."""
    bead_um: float = 0.1
    """Diameter, micrometres; 0 for points."""
    spacing_px: float = 45.0
    """Least distance of two beads; 0 lets them overlap."""
    planes: int = 21
    """Of the stack, the middle one in focus on the axis."""
    step_um: float = 0.2
    """Distance of the planes, micrometres."""
    photons: float = 60_000.0
    """Of a bead in one plane."""
    brightness_spread: float = 0.2
    """Standard deviation of the beads' brightness, relative."""
    background_photons: float = 10.0
    """In every pixel of a plane."""
    offset_counts: float = 100.0
    """What the camera says of darkness."""
    counts_per_photon: float = 2.0
    """The camera's gain."""
    read_std_photons: float = 1.6
    """Standard deviation of the read noise."""


@dataclass(frozen=True, eq=False)
class SimulatedStack:
    """A stack, and what was drawn."""

    stack: BeadStack
    counts: np.ndarray
    """(Z, H, W) uint16."""
    states: tuple[MicroscopeState, ...]
    """Of every plane."""
    centres: np.ndarray
    """(N, 2) of the beads, pixels."""


def random_state(rng: np.random.Generator, *, aberration_waves: float = 0.03, tilt_um: float = 0.15,
                 depth_um: float = 2.0) -> MicroscopeState:  # fmt: skip
    """Slide and day: tilt of the cover glass, depth in the medium, aberrations; in focus on the axis."""
    return MicroscopeState(
        focus_um=0.0,
        tilt_um=(float(rng.uniform(-tilt_um, tilt_um)), float(rng.uniform(-tilt_um, tilt_um))),
        depth_um=float(rng.uniform(0, depth_um)),
        constant=tuple(float(c) for c in rng.normal(0, aberration_waves, 6)),
    )


def simulate_stack(
    microscope: Microscope, slide: Slide, state: MicroscopeState, rng: np.random.Generator, *, name: str = "simulated"
) -> SimulatedStack:
    """One stack: random bead positions, sub-pixel; Poisson light and Gaussian read noise; 16-bit counts.

    Focus is where the stage says 0: the middle plane, up to what depth, tilt and curvature add.
    """
    wide = replace(microscope, psf_size=microscope.psf_size + 2 * _TAIL_PX)
    centres = _positions(slide, rng)
    brightness = slide.photons * np.clip(1 + slide.brightness_spread * rng.standard_normal(len(centres)), 0.1, None)
    H, W = slide.field_px
    places = torch.from_numpy((2 * centres + 1) / np.array([H, W]) - 1)
    states = planes_of(slide, state)
    counts = np.empty((slide.planes, H, W), np.uint16)
    for z, now in enumerate(states):
        light = _draw(wide.psf(places, now)[:, 0].numpy() * brightness[:, None, None], centres, slide, wide)
        photons = rng.poisson(light.clip(0) + slide.background_photons)
        noisy = photons + slide.read_std_photons * rng.standard_normal(photons.shape)
        counts[z] = np.clip(np.round(slide.offset_counts + slide.counts_per_photon * noisy), 0, 65535)
    stack = stack_of(counts, name=name, pixel_um=microscope.pixel_um, z_um=slide.step_um)
    return SimulatedStack(stack, counts, states, centres)


def planes_of(slide: Slide, state: MicroscopeState) -> tuple[MicroscopeState, ...]:
    """The state of every plane of a stack."""
    steps = (np.arange(slide.planes) - slide.planes // 2) * slide.step_um
    return tuple(replace(state, focus_um=state.focus_um + float(z)) for z in steps)


def true_psfs(
    microscope: Microscope, states: Sequence[MicroscopeState], side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, side², h, w) PSFs of each state at places (side², 2), a regular grid inside the field; sum 1 in focus."""
    at = pixel_places(side)
    places = torch.cartesian_prod(at, at)
    return torch.stack([microscope.psf(places, state)[:, 0] for state in states]), places


def _positions(slide: Slide, rng: np.random.Generator) -> np.ndarray:
    """(N, 2), by rejection; fewer than asked for where they do not fit."""
    found: list[np.ndarray] = []
    for _ in range(200 * slide.beads):
        if len(found) == slide.beads:
            break
        at = rng.uniform((0, 0), slide.field_px)
        if not found or np.abs(np.array(found) - at).max(1).min() >= slide.spacing_px:
            found.append(at)
    return np.array(found).reshape(-1, 2)


def _draw(spots: np.ndarray, centres: np.ndarray, slide: Slide, microscope: Microscope) -> np.ndarray:
    """(H, W): the spots (N, n, n), moved to their places and widened by the beads' diameter."""
    n = spots.shape[-1]
    half = n // 2
    rows, columns = np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None]
    sphere = bead_transfer(n, slide.bead_um / microscope.pixel_um)
    whole = np.round(centres).astype(int)
    rest = centres - whole
    phase = np.exp(-2j * np.pi * (rows * rest[:, 0, None, None] + columns * rest[:, 1, None, None]))
    moved = np.fft.ifft2(np.fft.fft2(spots) * phase * sphere).real
    H, W = slide.field_px
    canvas = np.zeros((H + 2 * half, W + 2 * half))
    for spot, (r, c) in zip(moved, whole, strict=True):
        r, c = min(max(r, 0), H - 1), min(max(c, 0), W - 1)
        canvas[r : r + n, c : c + n] += spot
    return canvas[half : half + H, half : half + W]


def write_stacks(
    folder: str | os.PathLike,
    stacks: int = 6,
    *,
    microscope: Microscope | None = None,
    slide: Slide | None = None,
    seed: int = 0,
) -> list[Path]:
    """Bead stacks to practise on, slide_0.tif and so on, as a microscope would have saved them (ImageJ, 16 bit)."""
    microscope, slide = microscope or Microscope(), slide or Slide(planes=5)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i in range(stacks):
        state, rng = random_state(np.random.default_rng((seed, i, 0))), np.random.default_rng((seed, i, 1))
        simulated = simulate_stack(microscope, slide, state, rng, name=f"slide_{i}")
        per_um = 1 / microscope.pixel_um
        files.append(folder / f"slide_{i}.tif")
        tifffile.imwrite(files[-1], simulated.counts, imagej=True, resolution=(per_um, per_um),
                         metadata={"axes": "ZYX", "spacing": slide.step_um, "unit": "um"})  # fmt: skip
    return files
