"""The pixels of a TIFF file on demand, strip by strip or tile by tile: a frame may be larger than memory.

Where each block lies says `tiff_layout`; `tiff_read` opens the file.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from PIL import Image
from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

from deepblur.platform.data.image_file import upright
from deepblur.platform.data.tiff_streams import carries_size, check_streams
from deepblur.platform.system.errors import UnreadableImageError
from deepblur.restoration.images.recording import check_claim
from deepblur.restoration.images.scratch import bands
from deepblur.restoration.images.tiff_claims import check_page, cut_short
from deepblur.restoration.images.tiff_layout import Layout
from deepblur.restoration.images.tiff_ome import Ome

_Part = tuple[int, slice, slice, np.ndarray]
"""(first sample, rows, columns, values (h, w, samples)) of a block, as it is stored."""
_READ_BYTES = 2**24
_CODEC_BYTES = 12.0
"""Memory of a codec of images for each value beside what it gives back: JPEG XL and JPEG 2000 compute in four bytes."""


class TiffSource:
    """An open TIFF file; closed when nobody needs it any more."""

    def __init__(self, tiff: TiffFile, series: TiffPageSeries, layout: Layout, ome: Ome | None) -> None:
        self.layout = layout
        self.tiff = tiff
        self.series = series
        self.ome = ome
        self.in_a_row = series.dataoffset is not None and not series.is_multifile
        """Its values lie in a row in one file, whatever its pages say."""
        if self.in_a_row:
            reach = self._start(0) + math.prod(series.shape) * series.dtype.itemsize
            if reach > tiff.filehandle.size:
                raise cut_short(tiff.filehandle.size, reach)
        else:
            for number in range(layout.blocks):
                self._found(number)
        self._sibling: TiffFile | None = None
        for file in (tiff,) if ome is None else ome.files:
            weakref.finalize(self, file.close)

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        """As `Source.fill`; `release` is called after each part."""
        layout = self.layout
        planes = layout.colours + layout.others
        samples = len(planes) // len(layout.order[index])
        stored = upright(out, {6: 8, 8: 6}.get(layout.orientation, layout.orientation))  # a view, turned as in the file
        for place, number in enumerate(layout.order[index]):
            for first, rows, columns, values in self._parts(number):
                converted = self._converted(values)
                for sample in range(converted.shape[-1]):
                    target = planes.index(place * samples + first + sample)
                    part = converted[..., sample]
                    stored[target, rows, columns] = ~part if layout.inverted else part
                release()

    def at_once_bytes(self) -> float:
        """Memory that decoding the largest part takes, or writing a page, which stays mapped while it is encoded."""
        page, written = self.series.keyframe, math.prod(self.layout.block_shape) * self.series.dtype.itemsize
        if self.in_a_row or page.is_contiguous:
            return max(_READ_BYTES, written)
        assert page.dtype is not None
        per_value = 3.0 * page.dtype.itemsize + _CODEC_BYTES * carries_size(page.compression)
        return max(_READ_BYTES, written, math.prod(page.chunks) * per_value)

    def _start(self, number: int) -> int:
        """The byte where a block begins, of values that lie in a row (ImageJ's large stacks have but one page)."""
        assert self.series.dataoffset is not None
        return self.series.dataoffset + number * math.prod(self.layout.raw_shape) * self.series.dtype.itemsize

    def _converted(self, block: np.ndarray) -> np.ndarray:
        """A part of a block, (H, W), (H, W, S) or (S, H, W), with its colours as RGB, (H, W, 3)."""
        if self.layout.colour == "palette":
            return np.moveaxis(self._colormap[:, block.reshape(block.shape[:2])], 0, -1)
        if self.layout.colour:
            return _as_rgb(block, self.layout.colour)
        return block

    @cached_property
    def _colormap(self) -> np.ndarray:
        """(3, values) uint8."""
        colormap = np.asarray(self.series.keyframe.colormap)
        return (colormap >> 8).astype(np.uint8) if colormap.max() > 255 else colormap.astype(np.uint8)

    def _page(self, number: int) -> TiffPage | TiffFrame:
        """A page that holds what it says, its file open."""
        page, key = self._found(number), self.series.keyframe
        tile = math.prod(key.chunks) * self.series.dtype.itemsize  # may claim more than the page itself
        check_claim(max(page.nbytes, tile), sum(page.databytecounts))
        self._open(page.parent)
        check_streams(page)
        return page

    def _open(self, tiff: TiffFile) -> None:
        """A set may have more files than a process may open: of those beside the first, one is open at a time."""
        if tiff is self.tiff or tiff is self._sibling:
            return
        if self._sibling is not None:
            self._sibling.close()
        tiff.filehandle.open()
        self._sibling = tiff

    def _found(self, number: int) -> TiffPage | TiffFrame:
        page = self.series[number]
        if page is None:
            raise UnreadableImageError("is missing from the file, although its metadata names it; save it again")
        try:
            check_page(page)
        except UnreadableImageError as error:
            if page.parent is self.tiff:
                raise
            raise UnreadableImageError(f"is a set of files of which {page.parent.filename} {error}") from None
        return page

    def _parts(self, number: int) -> Iterator[_Part]:
        shape, key = self.layout.raw_shape, self.series.keyframe
        separate = len(shape) == 3 and key.shaped[0] > 1
        planes, (height, width) = (shape[0], shape[1:]) if separate else (1, shape[:2])
        samples = 1 if separate or len(shape) == 2 else shape[2]
        if separate and self.layout.colour:  # a pixel's colours lie far apart
            block = self._page(number).asarray().reshape(shape)
            yield 0, slice(0, height), slice(0, width), np.moveaxis(block, 0, -1)
            return
        if self.in_a_row:
            yield from self._in_a_row(self.tiff, self._start(number), (planes, height, width, samples))
            return
        page = self._page(number)
        if key.is_contiguous and key.predictor == 1 and key.fillorder == 1:
            yield from self._in_a_row(page.parent, page.dataoffsets[0], (planes, height, width, samples))
        else:
            yield from _segments(page, key, height, width)

    def _in_a_row(self, tiff: TiffFile, start: int, shape: tuple[int, int, int, int]) -> Iterator[_Part]:
        """Parts of values (planes, rows, columns, samples) that lie in a row in the file, from byte `start` on."""
        planes, height, width, samples = shape
        handle = tiff.filehandle
        dtype = self.series.dtype.newbyteorder(tiff.byteorder)
        for plane in range(planes):
            for rows in bands((height, width * samples)):
                handle.seek(start + (plane * height + rows.start) * width * samples * dtype.itemsize)
                values = handle.read_array(dtype, (rows.stop - rows.start) * width * samples)
                yield plane, rows, slice(0, width), values.astype(self.series.dtype).reshape(-1, width, samples)


def _segments(page: TiffPage | TiffFrame, keyframe: TiffPage, height: int, width: int) -> Iterator[_Part]:
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


def _as_rgb(block: np.ndarray, mode: str) -> np.ndarray:
    """(H, W, 3) from (H, W, S) or (S, H, W)."""
    if block.shape[-1] != Image.getmodebands(mode):
        block = np.moveaxis(block, 0, -1)
    height, width = block.shape[:2]
    return np.asarray(Image.frombytes(mode, (width, height), np.ascontiguousarray(block).tobytes()).convert("RGB"))
