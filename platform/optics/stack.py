"""Stacks of bead images, with their units, checked before anything is measured."""

from dataclasses import dataclass

import numpy as np

from deepblur.platform.system.errors import InputError

_PLATEAU_PX = 10
"""So many pixels at the very largest value are a clipped sensor, not noise."""


@dataclass(frozen=True, eq=False)
class BeadStack:
    """Images of one slide of beads at several distances from focus."""

    name: str
    planes: np.ndarray
    """(Z, H, W) float32, in camera counts."""
    pixel_um: float | None
    z_um: float | None
    """Distance of the planes."""
    ceiling: float
    """Counts at which the camera clips."""

    def __post_init__(self) -> None:
        if self.planes.ndim != 3:
            raise InputError(f"{self.name}: a stack is (planes, rows, columns); got {self.planes.shape}")
        Z, H, W = self.planes.shape
        if min(H, W) < Z:
            raise InputError(
                f"{self.name}: {Z} planes of {H}x{W} pixels look like axes in the wrong order; save the stack as "
                "(planes, rows, columns)"
            )
        lost = int(self.planes.size - np.isfinite(self.planes).sum())
        if lost:
            raise InputError(f"{self.name}: {lost} pixels are NaN or infinite; replace them or leave this stack out")

    @property
    def field_px(self) -> tuple[int, int]:
        return self.planes.shape[1], self.planes.shape[2]


def stack_of(
    planes: np.ndarray,
    *,
    name: str = "stack",
    pixel_um: float | None = None,
    z_um: float | None = None,
    ceiling: float | None = None,
    bits: int | None = None,
) -> BeadStack:
    """A stack in memory.

    Args:
        planes: (Z, H, W) integers or floats, in camera counts.
        pixel_um: side of a pixel in the sample.
        z_um: distance of the planes.
        ceiling: counts at which the camera clips; default: the largest value of `bits`, or a plateau at the largest
            value of the planes.
        bits: of the camera; default: those of an unsigned type.
    Raises:
        InputError: not numbers, empty, NaN, or axes in the wrong order.
    """
    planes = np.asarray(planes)
    if planes.dtype.kind not in "uif":
        raise InputError(f"{name}: a stack holds integers or floats; got {planes.dtype}")
    if not planes.size:
        raise InputError(f"{name}: the stack is empty, {planes.shape}; save it again")
    bits = (bits or planes.dtype.itemsize * 8) if planes.dtype.kind == "u" else None
    return BeadStack(name, planes.astype(np.float32), pixel_um, z_um, _ceiling(planes, bits, ceiling))


def check_alike(stacks: list[BeadStack]) -> None:
    """Refuses stacks that one calibration cannot hold.

    Raises:
        InputError: no stack, or fields, pixels or plane distances differ.
    """
    if not stacks:
        raise InputError("no bead stack was given; give at least one TIFF z-stack")
    first = stacks[0]
    for stack in stacks[1:]:
        for what, here, there in (
            ("field", stack.field_px, first.field_px),
            ("pixel size in µm", stack.pixel_um, first.pixel_um),
        ):
            if here is not None and there is not None and not np.allclose(here, there, rtol=1e-3):
                raise InputError(
                    f"{stack.name}: its {what} {here} is not that of {first.name}, {there}; calibrate stacks of one "
                    "microscope, camera and magnification together"
                )


def _ceiling(planes: np.ndarray, bits: int | None, given: float | None) -> float:
    if given is not None:
        return given
    top = float(planes.max())
    level = float(2**bits - 1) if bits else np.inf
    clipped = top > np.median(planes) and np.count_nonzero(planes == planes.max()) >= _PLATEAU_PX
    return min(level, top) if clipped else level
