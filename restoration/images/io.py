"""A user's image file, opened and written back as what it was: format, axes, type of values, metadata."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepblur.platform.data.image_file import MIN_SIDE_PX, check_plain
from deepblur.platform.system.errors import InputError, UnreadableImageError
from deepblur.restoration.images.library_warnings import silent
from deepblur.restoration.images.picture import open_picture, write_picture
from deepblur.restoration.images.recording import Recording, check, frame_labels, in_one_sentence
from deepblur.restoration.images.scratch import bands
from deepblur.restoration.images.tiff_read import open_tiff
from deepblur.restoration.images.tiff_write import write_tiff

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_recording(
    path: str | os.PathLike, position: int | None = None, *, min_side_px: int = MIN_SIDE_PX
) -> Recording:
    """The recording in a TIFF, PNG, JPEG, BMP or WebP file; the content decides, not the suffix.

    - TIFF: integers and floats of any width, ImageJ and OME axes, any compression that `imagecodecs` undoes. Of a
      pyramid the finest level counts. Values of which 0 is white are turned into intensities.
    - A palette, CMYK and YCbCr become RGB, unless ImageJ says that the palette is only a way to show intensities.
    - EXIF and TIFF orientation is applied to the frames; `write_recording` turns them back and keeps the tag, so that
      all that the file says about its sides stays true.

    Args:
        position: which image of an OME-TIFF that holds several; None: the only one.
    Raises:
        InputError: one sentence that names the file: missing, empty, not an image, cut short, boolean, complex, more
            axes than T, Z, C, Y, X and samples, a side under min_side_px, too large a frame, a decompression bomb.
    """
    path = Path(path)
    with silent(), in_one_sentence(path):
        size = _size_on_disk(path)
        with path.open("rb") as file:
            magic = file.read(4)
        recording = open_tiff(path, position) if magic in _TIFF_MAGIC else open_picture(path)
        check(recording, size, min_side_px)
    return remarked(recording)


def remarked(recording: Recording) -> Recording:
    """With what is to be said of pixels that are not square."""
    if not recording.square:
        sides = f"{recording.pixel_um:.4g} x {recording.pixel_height_um:.4g} µm"
        note = f"its pixels are not square ({sides}, width x height), but the blur is looked for as if they were"
        recording = replace(recording, notes=(*recording.notes, note))
    return recording


def recording_of(
    array: np.ndarray, axes: str = "YX", name: str = "array", *, min_side_px: int = MIN_SIDE_PX
) -> Recording:
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
    with in_one_sentence(recording.path):
        check(recording, array.nbytes, min_side_px)
    return recording


def assembled(frames: np.ndarray, recording: Recording) -> np.ndarray:
    """Frames (N, C, h, w) of a recording as one array with its axes, without alpha; h and w may be others than its."""
    order = sorted(recording.axes, key="TZCSYX".index)  # N runs through T and Z, C and S are the channels
    blocks = recording.shape[recording.axes.index("C")] if "C" in recording.axes else 1
    known = {"Y": frames.shape[-2], "X": frames.shape[-1], "S": frames.shape[1] // blocks}
    sizes = [known.get(axis, recording.shape[recording.axes.index(axis)]) for axis in order]
    return np.transpose(frames.reshape(sizes), [order.index(axis) for axis in recording.axes])


Writer = Callable[[Path, Iterator[np.ndarray], Recording], None]


def write_recording(
    path: str | os.PathLike, frames: Iterable[np.ndarray], like: Recording, write: Writer | None = None
) -> None:
    """Write restored frames as a file of the same kind as `like`, one at a time, all or nothing.

    Args:
        path: replaced at once when the last frame is written; until then the file that was there stays.
        frames: `like.length` arrays (C, H, W) of `like.dtype`, in the order of `like`'s frames.
        like: gives format, axes, metadata, resolution, orientation and the planes that are kept; may be `path`'s own.
        write: writes a format that is neither TIFF nor a picture.

    Raises:
        OutputError: no permission, no space, no such folder; one sentence that names the path.
        ValueError: frames of another number, shape or type.
        Whatever `frames` raises, unchanged. In every case no partial or temporary file stays.
    """
    if like.format == "array":
        raise ValueError("an array has no file format; write it with tifffile or imageio")
    if write is None:
        write = write_tiff if like.format == "tiff" else write_picture
    try:
        with silent():
            write(Path(path), _checked(frames, like), like)
    except _FramesError as error:
        raise error.error from None


@dataclass(frozen=True)
class _Array:
    stack: np.ndarray

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        for rows in bands(out.shape):
            out[:, rows] = self.stack[index][:, rows]
            release()

    def at_once_bytes(self) -> float:
        return 0.0


def _size_on_disk(path: Path) -> int:
    check_plain(path)
    size = path.stat().st_size
    if not size:
        raise UnreadableImageError("is empty (0 bytes); copy it again")
    return size


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
