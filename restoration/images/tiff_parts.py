"""A frame of a TIFF file that is too large for memory, strip by strip or tile by tile into an array on disk."""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from tifffile import TiffFile, TiffFrame, TiffPage

from deepblur.platform.data.image_file import upright
from deepblur.platform.data.tiff_streams import carries_size
from deepblur.restoration.images.scratch import bands

if TYPE_CHECKING:
    from deepblur.restoration.images.tiff_read import TiffSource

Part = tuple[int, slice, slice, np.ndarray]
"""(first sample, rows, columns, values (h, w, samples)) of a block, as it is stored."""
_READ_BYTES = 2**24
_CODEC_BYTES = 12.0
"""Memory of a codec of images for each value beside what it gives back: JPEG XL and JPEG 2000 compute in four bytes."""


def fill(source: "TiffSource", index: int, out: np.ndarray, release: Callable[[], None]) -> None:
    """Write the planes (C + A, H, W) of a frame, upright, into `out`; `release` is called after each part."""
    layout = source.layout
    planes = layout.colours + layout.others
    samples = len(planes) // len(layout.order[index])
    stored = upright(out, {6: 8, 8: 6}.get(layout.orientation, layout.orientation))  # a view, turned as in the file
    for place, number in enumerate(layout.order[index]):
        for first, rows, columns, values in _parts(source, number):
            converted = source.converted(values)
            for sample in range(converted.shape[-1]):
                target = planes.index(place * samples + first + sample)
                part = converted[..., sample]
                stored[target, rows, columns] = ~part if layout.inverted else part
            release()


def at_once_bytes(source: "TiffSource") -> float:
    """Memory that decoding the largest part takes, or writing a page, which stays mapped while it is encoded."""
    page, written = source.series.keyframe, math.prod(source.layout.block_shape) * source.series.dtype.itemsize
    if source.in_a_row or page.is_contiguous:
        return max(_READ_BYTES, written)
    per_value = 3.0 * page.dtype.itemsize + _CODEC_BYTES * carries_size(page.compression)
    return max(_READ_BYTES, written, math.prod(page.chunks) * per_value)


def _parts(source: "TiffSource", number: int) -> Iterator[Part]:
    shape, series = source.layout.raw_shape, source.series
    separate = len(shape) == 3 and series.keyframe.shaped[0] > 1
    planes, (height, width) = (shape[0], shape[1:]) if separate else (1, shape[:2])
    samples = 1 if separate or len(shape) == 2 else shape[2]
    if separate and source.layout.colour:  # a pixel's colours lie far apart
        yield 0, slice(0, height), slice(0, width), np.moveaxis(source.page(number).reshape(shape), 0, -1)
        return
    if source.in_a_row:
        assert series.dataoffset is not None
        start = series.dataoffset + number * math.prod(shape) * series.dtype.itemsize
        yield from _in_a_row(source, source.tiff, start, (planes, height, width, samples))
        return
    page = source.checked_page(number)
    keyframe = series.keyframe
    if keyframe.is_contiguous and keyframe.predictor == 1 and keyframe.fillorder == 1:
        yield from _in_a_row(source, page.parent, page.dataoffsets[0], (planes, height, width, samples))
    else:
        yield from _segments(page, keyframe, height, width)


def _in_a_row(source: "TiffSource", tiff: TiffFile, start: int, shape: tuple[int, int, int, int]) -> Iterator[Part]:
    """Parts of values (planes, rows, columns, samples) that lie in a row in the file, from byte `start` on."""
    planes, height, width, samples = shape
    handle = tiff.filehandle
    dtype = source.series.dtype.newbyteorder(tiff.byteorder)
    for plane in range(planes):
        for rows in bands((height, width * samples)):
            handle.seek(start + (plane * height + rows.start) * width * samples * dtype.itemsize)
            values = handle.read_array(dtype, (rows.stop - rows.start) * width * samples)
            yield plane, rows, slice(0, width), values.astype(source.series.dtype).reshape(-1, width, samples)


def _segments(page: TiffPage | TiffFrame, keyframe: TiffPage, height: int, width: int) -> Iterator[Part]:
    keyframe.init_decode()
    for segment, (plane, _, row, column, _), shape in page.segments(
        maxworkers=1, buffersize=_READ_BYTES, _fullsize=False
    ):
        rows, columns = slice(row, min(row + shape[1], height)), slice(column, min(column + shape[2], width))
        size = rows.stop - row, columns.stop - column
        if segment is None:  # tifffile's word for one that the file leaves out
            values = np.full((*size, shape[3]), keyframe.nodata, keyframe.dtype)
        else:
            values = segment[0, : size[0], : size[1]]
        yield plane, rows, columns, values
