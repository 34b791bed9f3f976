"""An array that is read in parts, as the readers of all formats give it, as a recording."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.system.errors import UnreadableImageError
from deepblur.restoration.images.recording import Recording, check_claim, frame_labels

LEADING = "QITZ"
"""Axes of which each combination is a frame; Q and I are pages of unknown meaning."""

_BAND_VALUES = 2**22
_MAX_CHANNELS = 1024
_MAX_PIECE_BYTES = 2**30

Index = tuple[int | slice, ...]


@dataclass(frozen=True)
class ArraySource:
    """The frames of an array with named axes."""

    read: Callable[[Index], np.ndarray]
    """Part of the array, read when it is asked for."""
    axes: str
    shape: tuple[int, ...]
    itemsize: int
    pieces: tuple[int, ...]
    """Sizes along `axes` of what can be read alone: a chunk, a plane; else it is read again for every part of it."""

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        """As `Source.fill`."""
        leading = [axis for axis in self.axes if axis in LEADING]
        place = np.unravel_index(index, [self._size(axis) for axis in leading]) if leading else ()
        known: dict[str, int | slice] = {axis: int(k) for axis, k in zip(leading, place, strict=True)}
        apart = "C" in self.axes and self._piece("C") == 1
        channels = [slice(k, k + 1) for k in range(self._size("C"))] if apart else [slice(0, self._size("C"))]
        for channel in channels:
            for start in range(0, self._size("Y"), self._rows):
                rows = slice(start, min(start + self._rows, self._size("Y")))
                known |= {"C": channel, "Y": rows}
                part = self.read(tuple(known.get(axis, slice(None)) for axis in self.axes))
                left = [axis for axis in self.axes if axis not in LEADING]
                upright = np.transpose(part, [left.index(axis) for axis in "CSYX" if axis in left])
                samples = self._size("S")
                planes = slice(channel.start * samples, channel.stop * samples)
                out[planes, rows] = upright.reshape(-1, *upright.shape[-2:])
                release()

    def at_once_bytes(self) -> float:
        channels = 1 if self._piece("C") == 1 else self._size("C")
        part = self._rows * self._size("X") * self._size("S") * channels
        return 3.0 * self.itemsize * max(part, math.prod(self.pieces))

    @property
    def _rows(self) -> int:
        """Read at once: whole pieces, of a few million values."""
        high = self._piece("Y")
        return min(self._size("Y"), high * max(1, _BAND_VALUES // (high * self._size("X"))))

    def _size(self, axis: str) -> int:
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def _piece(self, axis: str) -> int:
        return self.pieces[self.axes.index(axis)] if axis in self.axes else 1


def array_recording(
    path: Path, kind: str, source: ArraySource, dtype: np.dtype, stored_bytes: int, **facts: Any
) -> Recording:
    """An array as a recording.

    Args:
        source: with axes of Q, I, T, Z, C, Y, X and S (3 samples are red, green, blue, a fourth is alpha).
        dtype: of its values.
        stored_bytes: on the disk.
        facts: further fields of `Recording`.
    Raises:
        UnreadableImageError: other axes, or more than one of a kind; pixels that cannot come from so few bytes, or are
            stored in too large a piece.
    """
    axes, shape = source.axes, source.shape
    if len(set(axes)) < len(axes) or not set("YX") <= set(axes) <= {*LEADING, *"CYXS"}:
        raise UnreadableImageError(
            f"has axes {axes} of sizes {'x'.join(map(str, shape))}, but only T, Z, C, Y, X and samples have a meaning; "
            "save one part of it"
        )
    sizes = dict(zip(axes, shape, strict=True))
    samples, channels = sizes.get("S", 1), sizes.get("C", 1)
    if samples * channels > _MAX_CHANNELS:
        raise UnreadableImageError(
            f"has {samples * channels} channels, more than {_MAX_CHANNELS}; save it with Z or T as that axis"
        )
    if samples not in (1, 3, 4) or (samples == 4 and channels > 1):
        raise UnreadableImageError(f"has {samples} samples in {channels} channels; save it as channels")
    check_claim(math.prod(shape) * dtype.itemsize, stored_bytes)
    piece = math.prod(source.pieces) * dtype.itemsize
    if piece > _MAX_PIECE_BYTES:
        raise UnreadableImageError(
            f"is stored in pieces of {piece / 2**30:.1f} GiB, which can only be read whole; save it with a chunk for "
            "each plane"
        )
    lead = [axis for axis in axes if axis in LEADING]
    lead_sizes = tuple(sizes[axis] for axis in lead)
    alpha = int(samples == 4)
    return Recording(
        path=path,
        format=kind,
        axes=axes,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        length=math.prod(lead_sizes),
        channels=channels * samples - alpha,
        labels=frame_labels("".join(lead), lead_sizes),
        source=source,
        rgb=samples >= 3 and channels == 1,
        alpha=alpha,
        bits=8 * dtype.itemsize if dtype.kind in "ui" else 0,
        **facts,
    )
