"""FITS of astronomers, read part by part. Pixels that are NaN say nothing: filled to be restored, and NaN again after.

Source: FITS standard 4.0; rows are kept in the order in which they are stored.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.system.errors import UnreadableImageError
from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.formats.array_source import ArraySource, Index, array_recording
from deepblur.restoration.formats.kinds import reader
from deepblur.restoration.images.recording import Recording, check_claim
from deepblur.restoration.pixels.filling import BYTES_PER_PX, filled

_BLOCK_BYTES = 2880
_OF_OLD_PIXELS = ("BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM", "DATAMIN", "DATAMAX")


@dataclass(frozen=True)
class FitsSource:
    """The frames of one image in the file."""

    stored: ArraySource
    """As they are, with NaN."""
    heads: tuple[Any, ...]
    """Header of the file's beginning, where the image is an extension, and that of the image."""

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        """As `Source.fill`; blank pixels are `filled` from those around them, with 0 where all are blank."""
        self.stored.fill(index, out, release)
        for plane in out if out.dtype.kind == "f" else ():
            blank = np.isnan(plane)
            if blank.all():
                plane[:] = 0
            elif blank.any():
                plane[:] = filled(plane, blank)
            release()

    def blank(self, index: int, out: np.ndarray) -> np.ndarray:
        """(1, H, W) bool: the pixels of a frame that say nothing; `out` is overwritten."""
        self.stored.fill(index, out, lambda: None)
        return np.isnan(out)

    def at_once_bytes(self) -> float:
        high, wide = self.stored.shape[-2:]
        return max(self.stored.at_once_bytes(), BYTES_PER_PX * high * wide)


def open_fits(path: Path) -> Recording:
    """The first image in the file. Raises almost anything on a damaged one."""
    fits = reader("astropy.io.fits", "fits")
    opened = fits.open(path, memmap=False, lazy_load_hdus=True, output_verify="silentfix")
    try:
        images = [hdu for hdu in opened if hdu.is_image and len(hdu.shape or ()) >= 2 and 0 not in hdu.shape]
        if not images:
            raise UnreadableImageError("holds tables or headers, but no image; name a file with one")
        image, stored = images[0], path.stat().st_size
        check_claim(math.prod(image.shape) * abs(int(image.header["BITPIX"])) // 8, stored)
        apart = [size for size in image.shape[:-2] if size > 1]
        if len(apart) > 2:
            raise UnreadableImageError(f"has {len(image.shape)} axes ({image.shape}); save one part of it")
        lead = "QI"[2 - len(apart) :]
        values = image.section

        def read(index: Index) -> np.ndarray:
            leading = iter(index[:-2])
            full = tuple(next(leading) if size > 1 else 0 for size in image.shape[:-2]) + index[-2:]
            return np.asarray(values[full])

        corner = (0,) * len(apart) + (slice(0, 1), slice(0, 1))
        dtype = read(corner).dtype.newbyteorder("=")
        shape = (*apart, *image.shape[-2:])
        source = ArraySource(read, f"{lead}YX", shape, dtype.itemsize, (*(1 for _ in apart), 1, shape[-1]))
        heads = (image.header,) if image is opened[0] else (opened[0].header, image.header)
        made = FitsSource(source, tuple(head.copy() for head in heads))
        recording = array_recording(path, "fits", source, dtype, stored, notes=tuple(_notes(images)))
        weakref.finalize(made, opened.close)
        return replace(recording, source=made)
    except BaseException:
        opened.close()
        raise


def write_fits(path: Path, frames: Iterator[np.ndarray], like: Recording) -> None:
    """See `write_recording`. Header and type are the image's; the file's other images and tables are left out."""
    fits = reader("astropy.io.fits", "fits")
    source = like.source
    assert isinstance(source, FitsSource)
    raw = math.prod(like.shape) * like.dtype.itemsize
    with replacing(path, raw) as file:
        for head in source.heads[:-1]:
            file.write(_text(fits.PrimaryHDU(header=_still_true(head))))
        kind = fits.PrimaryHDU if len(source.heads) == 1 else fits.ImageHDU
        tiny = np.zeros((1,) * len(like.shape), like.dtype)
        hdu = kind(tiny, header=_still_true(source.heads[-1]))
        for number, size in enumerate(reversed(like.shape), start=1):
            hdu.header[f"NAXIS{number}"] = size
        file.write(_text(hdu))
        room = like.scratch.empty((1, *like.size), like.dtype)
        for index, frame in enumerate(frames):
            if like.dtype.kind == "f":
                frame = np.where(source.blank(index, room), np.array(np.nan, like.dtype), frame)
            file.write(_stored(frame).tobytes())
            like.scratch.release()
        file.write(bytes(-raw % _BLOCK_BYTES))


def _still_true(header: Any) -> Any:
    """A header without what it says of the old values."""
    kept = header.copy()
    for name in _OF_OLD_PIXELS:
        kept.remove(name, ignore_missing=True, remove_all=True)
    return kept


def _text(hdu: Any) -> bytes:
    return hdu.header.tostring().encode("ascii", "replace")


def _stored(frame: np.ndarray) -> np.ndarray:
    """Values as FITS has them: the first byte first, and integers with the sign that the standard gives them."""
    kind, bits = frame.dtype.kind, 8 * frame.dtype.itemsize
    if (kind, bits) in (("u", 8), ("f", 32), ("f", 64)) or (kind == "i" and bits > 8):
        return frame.astype(frame.dtype.newbyteorder(">"))
    unsigned = np.dtype(f"u{frame.dtype.itemsize}")
    return (frame.view(unsigned) ^ unsigned.type(1 << (bits - 1))).astype(unsigned.newbyteorder(">"))


def _notes(images: list[Any]) -> Iterator[str]:
    if len(images) > 1:
        yield f"the first of {len(images)} images in the file; the others are left out"
    image = images[0]
    if int(image.header["BITPIX"]) > 0 and "BLANK" not in image.header and "BSCALE" not in image.header:
        return
    count = 0
    for plane in np.ndindex(*image.shape[:-2]):
        for row in range(0, image.shape[-2], rows := max(1, 2**22 // image.shape[-1])):
            count += int(np.count_nonzero(np.isnan(image.section[(*plane, slice(row, row + rows))])))
    if count:
        yield (
            f"{count} of {math.prod(image.shape)} pixels are NaN: filled from their surroundings to be restored, and "
            "NaN in the result"
        )
