"""A user's image file, read frame by frame and written back as what it was: format, axes, type of values, metadata.

A recording is a picture, a stack, a time series, several channels, or any mixture. Its frames are numbered in the
order of its axes; each is (C, H, W) in the stored type, upright, with the channels that are to be restored. An alpha
channel is no light: it is kept as it is and never part of a frame. Memory holds one frame, whatever the file's length.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil

from deepblur.platform.data.image_file import MIN_SIDE_PX, check_pixels, check_plain, unreadable
from deepblur.platform.system.errors import InputError, UnreadableImageError
from deepblur.restoration.images.library_warnings import silent
from deepblur.restoration.images.scratch import MEMORY, Scratch, bands

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_INFLATION = 2000  # no codec for real images packs more tightly; deflate and JPEG end near 1000
_HARMLESS_BYTES = 2**20
_SQUARE = 0.01
"""Sides of a pixel that differ by less are equal: resolutions are stored as rounded fractions."""


class Source(Protocol):
    """Where the pixels come from."""

    def planes(self, index: int) -> np.ndarray:
        """(C + A, H, W) of one frame, upright: the channels to restore, then what is kept as it is."""
        ...

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        """`planes` into an array on disk; what was touched of it leaves memory when `release` is called."""
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
        shape = (self.channels + self.alpha, *self.size)
        with silent(), _one_sentence(where):
            if self.scratch.on_disk:
                planes = self.scratch.empty(shape, self.dtype)
                self.source.fill(index, planes, self.scratch.release)
                self.last[index] = planes
            else:
                planes = np.ascontiguousarray(self.source.planes(index))
        if planes.shape != shape or planes.dtype != self.dtype:
            raise InputError(
                f"{where}: is {planes.dtype} of shape {planes.shape}, unlike the rest of the file; save it again"
            )
        lost = 0
        for rows in bands(shape) if self.dtype.kind == "f" else ():
            lost += planes[:, rows].size - np.count_nonzero(np.isfinite(planes[:, rows]))
            self.scratch.release()
        if lost:
            raise InputError(f"{where}: {lost} pixels are NaN or infinite; fill them or leave this image out")
        return planes


def read_recording(path: str | os.PathLike) -> Recording:
    """The recording in a TIFF, PNG, JPEG, BMP or WebP file; the content decides, not the suffix.

    - TIFF: integers and floats of any width, ImageJ and OME axes, any compression that `imagecodecs` undoes. Of a
      pyramid the finest level counts. Values of which 0 is white are turned into intensities.
    - A palette, CMYK and YCbCr become RGB, unless ImageJ says that the palette is only a way to show intensities.
    - EXIF and TIFF orientation is applied to the frames; `write_recording` turns them back and keeps the tag, so that
      all that the file says about its sides stays true.

    Raises:
        InputError: one sentence that names the file: missing, empty, not an image, cut short, boolean, complex, more
            axes than T, Z, C, Y, X and samples, a side under 8 px, too large a frame, a decompression bomb.
    """
    path = Path(path)
    with silent(), _one_sentence(path):
        size = _size_on_disk(path)
        with path.open("rb") as file:
            magic = file.read(4)
        if magic in _TIFF_MAGIC:
            from deepblur.restoration.images.tiff_read import open_tiff

            recording = open_tiff(path)
        else:
            from deepblur.restoration.images.picture import open_picture

            recording = open_picture(path)
        _check(recording, size)
    if not recording.square:
        sides = f"{recording.pixel_um:.4g} x {recording.pixel_height_um:.4g} µm"
        note = f"its pixels are not square ({sides}, width x height), but the blur is looked for as if they were"
        recording = replace(recording, notes=(*recording.notes, note))
    return recording


def recording_of(array: np.ndarray, axes: str = "YX", name: str = "array") -> Recording:
    """An array in memory as a recording, under the same rules.

    Args:
        array: one dimension per letter of `axes`.
        axes: Y, X and any of C (channel), Z, T; S instead of C says that the samples are red, green, blue.

    Raises:
        InputError: what `read_recording` refuses; axes that do not fit the array.
    """
    array = np.asarray(array)
    if len(axes) != array.ndim or len(set(axes)) != len(axes) or not set("YX") <= set(axes) <= set("TZCYXS"):
        raise InputError(
            f"{name}: axes {axes!r} do not fit an array of shape {array.shape}; name each of T, Z, C, Y, X"
        )
    order = sorted(axes, key="TZCSYX".index)
    moved = np.transpose(array, [axes.index(axis) for axis in order])
    lead = [axis for axis in order if axis in "TZ"]
    sizes = moved.shape[: len(lead)]
    stack = moved.reshape(math.prod(sizes), -1, *moved.shape[-2:])
    recording = Recording(
        path=Path(name),
        format="array",
        axes=axes,
        shape=array.shape,
        dtype=array.dtype.newbyteorder("="),
        length=len(stack),
        channels=stack.shape[1],
        labels=frame_labels("".join(lead), sizes),
        source=_Array(stack),
        rgb="S" in axes and stack.shape[1] == 3,
        bits=8 * array.dtype.itemsize if array.dtype.kind in "ui" else 0,
    )
    with _one_sentence(recording.path):
        _check(recording, array.nbytes)
    return recording


def write_recording(path: str | os.PathLike, frames: Iterable[np.ndarray], like: Recording) -> None:
    """Write restored frames as a file of the same kind as `like`, one at a time, all or nothing.

    Args:
        path: replaced at once when the last frame is written; until then the file that was there stays.
        frames: `like.length` arrays (C, H, W) of `like.dtype`, in the order of `like`'s frames.
        like: gives format, axes, metadata, resolution, orientation and the planes that are kept; may be `path`'s own.

    Raises:
        OutputError: no permission, no space, no such folder; one sentence that names the path.
        ValueError: frames of another number, shape or type.
        Whatever `frames` raises, unchanged. In every case no partial or temporary file stays.
    """
    if like.format == "tiff":
        from deepblur.restoration.images.tiff_write import write_tiff as write
    elif like.format == "array":
        raise ValueError("an array has no file format; write it with tifffile or imageio")
    else:
        from deepblur.restoration.images.picture import write_picture as write
    try:
        with silent():
            write(Path(path), _checked(frames, like), like)
    except _FramesError as error:
        raise error.error from None


def frame_labels(axes: str, sizes: tuple[int, ...]) -> tuple[str, ...]:
    """One label per combination of the axes, the last running fastest."""
    names = [{"T": "t", "Z": "z"}.get(axis, "page") for axis in axes]
    return tuple(", ".join(f"{name}={k}" for name, k in zip(names, index, strict=True)) for index in np.ndindex(*sizes))


@dataclass(frozen=True)
class _Array:
    stack: np.ndarray

    def planes(self, index: int) -> np.ndarray:
        frame = self.stack[index]
        return frame.astype(frame.dtype.newbyteorder("="))

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        for rows in bands(out.shape):
            out[:, rows] = self.stack[index][:, rows]
            release()

    def at_once_bytes(self) -> float:
        return 0.0


@contextmanager
def _one_sentence(name: str | Path) -> Iterator[None]:
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


def _size_on_disk(path: Path) -> int:
    check_plain(path)
    size = path.stat().st_size
    if not size:
        raise UnreadableImageError("is empty (0 bytes); copy it again")
    return size


def _check(recording: Recording, size: int) -> None:
    """Raises UnreadableImageError for what is no image to restore, or a bomb; `size` in bytes on disk."""
    kind = recording.dtype.kind
    if kind == "b":
        raise UnreadableImageError("holds booleans (1 bit), which are no intensities; save the grey image behind it")
    if kind not in "uif":
        raise UnreadableImageError(f"holds {recording.dtype}, no intensity; save the magnitude as real numbers")
    height, width = (recording.shape[recording.axes.index(axis)] for axis in "YX")
    if min(height, width) < MIN_SIDE_PX:
        raise UnreadableImageError(f"is {height}x{width}, but both sides need at least {MIN_SIDE_PX} px; leave it out")
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


class _FramesError(Exception):
    """Carries an OSError of the frames past those of the file that is written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _apart(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    try:
        yield from frames
    except OSError as error:
        raise _FramesError(error) from error


def _checked(frames: Iterable[np.ndarray], like: Recording) -> Iterator[np.ndarray]:
    """The frames, each held against `like`."""
    expected = (like.channels, *(like.shape[like.axes.index(axis)] for axis in "YX"))
    count = 0
    for count, frame in enumerate(_apart(frames), start=1):
        if frame.shape != expected or frame.dtype != like.dtype or count > like.length:
            raise ValueError(
                f"frame {count} is {frame.dtype} {frame.shape}, but {like.path} takes {like.length} of {like.dtype} "
                f"{expected}"
            )
        yield frame
    if count != like.length:
        raise ValueError(f"{count} frames for {like.path}, which takes {like.length}")
