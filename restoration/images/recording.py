"""A recording: what is in an image file, and its frames on demand.

A recording is a picture, a stack, a time series, several channels, or any mixture. Its frames are numbered in the
order of its axes; each is (C, H, W) in the stored type, upright, with the channels that are to be restored. An alpha
channel is no light: it is kept as it is and never part of a frame. Memory holds one frame, whatever the file's length.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil

from deepblur.platform.data.image_file import MIN_SIDE_PX, check_pixels, unreadable
from deepblur.platform.system.errors import InputError, UnreadableImageError
from deepblur.restoration.images.library_warnings import silent
from deepblur.restoration.images.scratch import MEMORY, Scratch, bands

_INFLATION = 2000  # no codec for real images packs more tightly; deflate and JPEG end near 1000
_HARMLESS_BYTES = 2**20
_SQUARE = 0.01
"""Sides of a pixel that differ by less are equal: resolutions are stored as rounded fractions."""


class Source(Protocol):
    """Where the pixels come from."""

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        """Write one frame, upright, into an array (C + A, H, W): the channels to restore, then what is kept as it is.

        The array may lie on disk: what was touched of it leaves memory when `release` is called.
        """
        ...

    def at_once_bytes(self) -> float:
        """Memory that the largest part takes which must be read or written at once."""
        ...


@dataclass(frozen=True)
class Recording:
    """What is in a file, and its frames on demand."""

    path: Path
    format: str
    """"tiff", "png", "jpeg", "bmp", "webp", or "array"."""
    axes: str
    """One letter per dimension of the file: Y, X, S (sample), C (channel), Z, T, I or Q (pages of unknown meaning)."""
    shape: tuple[int, ...]
    """Sizes along `axes`, of the upright image."""
    dtype: np.dtype
    length: int
    """Number of frames: every combination of the axes that are not Y, X, C or S."""
    channels: int
    labels: tuple[str, ...]
    """What distinguishes each frame, such as "t=0, z=3"; "" for a single one."""
    source: Source = field(repr=False, compare=False)
    scratch: Scratch = field(default=MEMORY, repr=False, compare=False)
    """Makes the arrays of a frame's size; where they are on disk, so are the frames."""
    last: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """The planes of the frame that was read last, where it is on disk."""
    channel_names: tuple[str, ...] = ()
    """One per channel, or none where the file names none."""
    rgb: bool = False
    """The channels are red, green, blue of one picture."""
    alpha: int = 0
    """Number of planes that are kept as they are."""
    bits: int = 0
    """Integers: bits per value that the file declares; 0 for floats."""
    pixel_um: float | None = None
    """Width of a pixel in the sample, micrometres, where the file says so credibly."""
    pixel_height_um: float | None = None
    """Its height; None where the file does not say."""
    na: float | None = None
    """Numerical aperture of the objective, where the file says so."""
    index: float | None = None
    """Refractive index of its immersion medium."""
    emission_nm: tuple[float | None, ...] = ()
    """Wavelength of the light of each channel, in vacuum; none where the file says none."""
    z_um: float | None = None
    """Distance of the planes of a stack, micrometres."""
    interval_s: float | None = None
    """Time between the images of a series, seconds."""
    notes: tuple[str, ...] = ()
    """What people should know about the file, a sentence each."""

    @property
    def square(self) -> bool:
        """Whether pixels are as high as wide, as far as the file says."""
        width, height = self.pixel_um, self.pixel_height_um
        return not width or not height or math.isclose(width, height, rel_tol=_SQUARE)

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) in pixels."""
        return self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]

    def frame(self, index: int) -> np.ndarray:
        """(C, H, W) in the stored type.

        Raises:
            InputError: the file is damaged there, or a float value is NaN or infinite; names file and frame.
        """
        return self._planes(index)[: self.channels]

    def frames(self) -> Iterator[np.ndarray]:
        for index in range(self.length):
            yield self.frame(index)
            self.scratch.release()

    def kept(self, index: int) -> np.ndarray:
        """(A, H, W), the planes of a frame that are not restored, such as alpha."""
        return self._planes(index)[self.channels :]

    def where(self, index: int) -> str:
        """File and frame as people read them."""
        return f"{self.path} ({self.labels[index]})" if self.labels[index] else str(self.path)

    def _planes(self, index: int) -> np.ndarray:
        if not 0 <= index < self.length:
            raise IndexError(f"frame {index} of {self.length}")
        where = self.where(index)
        if index in self.last:
            return self.last[index]
        self.last.clear()
        planes = self.scratch.empty((self.channels + self.alpha, *self.size), self.dtype)
        with silent(), in_one_sentence(where):
            self.source.fill(index, planes, self.scratch.release)
        if self.scratch.on_disk:
            self.last[index] = planes
        lost = 0
        for rows in bands(planes.shape) if self.dtype.kind == "f" else ():
            lost += int(planes[:, rows].size - np.count_nonzero(np.isfinite(planes[:, rows])))
            self.scratch.release()
        if lost:
            raise InputError(f"{where}: {lost} pixels are NaN or infinite; fill them or leave this image out")
        return planes


def frame_labels(axes: str, sizes: tuple[int, ...]) -> tuple[str, ...]:
    """One label per combination of the axes, the last running fastest."""
    names = [{"T": "t", "Z": "z"}.get(axis, "page") for axis in axes]
    return tuple(", ".join(f"{name}={k}" for name, k in zip(names, index, strict=True)) for index in np.ndindex(*sizes))


@contextmanager
def in_one_sentence(name: str | Path) -> Iterator[None]:
    """Whatever a decoder raises in the block becomes one sentence that begins with `name`."""
    try:
        yield
    except InputError:
        raise
    except UnreadableImageError as error:
        raise InputError(f"{name}: {error}") from error
    except PermissionError as error:
        raise InputError(f"{name}: may not be read; ask its owner for permission") from error
    except Exception as error:
        raise InputError(unreadable(name, error)) from error


def check(recording: Recording, size: int, min_side_px: int = MIN_SIDE_PX) -> None:
    """Raises UnreadableImageError for what is no image to restore, or a bomb; `size` in bytes on disk."""
    kind = recording.dtype.kind
    if kind == "b":
        raise UnreadableImageError("holds booleans (1 bit), which are no intensities; save the grey image behind it")
    if kind not in "uif":
        raise UnreadableImageError(f"holds {recording.dtype}, no intensity; save the magnitude as real numbers")
    height, width = (recording.shape[recording.axes.index(axis)] for axis in "YX")
    if min(height, width) < min_side_px:
        raise UnreadableImageError(f"is {height}x{width}, but both sides need at least {min_side_px} px; leave it out")
    check_pixels(height, width)
    if recording.channels < 1:
        raise UnreadableImageError("holds no channel but alpha; save the image itself")
    check_claim(math.prod(recording.shape) * recording.dtype.itemsize, size)


def check_claim(pixel_bytes: int, stored_bytes: int) -> None:
    """Raises UnreadableImageError where that many bytes of pixels cannot come from so few in the file."""
    if pixel_bytes > max(_HARMLESS_BYTES, _INFLATION * stored_bytes):
        raise UnreadableImageError(
            f"claims {pixel_bytes / 1e9:.3g} GB of pixels in {stored_bytes} bytes (a damaged file or a decompression "
            "bomb); save it again"
        )


def check_fits(recording: Recording, bytes_per_value: float) -> None:
    """For work that holds all frames at once. Raises InputError where memory has no room for them, by the header."""
    needed, free = bytes_per_value * math.prod(recording.shape), psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{recording.path}: all its frames at once need {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of "
            "memory are free; take a part of it"
        )
