"""TIFF as a recording: its pixels on demand, and what the file says about itself."""

import math
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

from deepblur.platform.data.image_file import check_pixels
from deepblur.platform.data.tiff_streams import check_streams
from deepblur.platform.system.errors import UnreadableImageError
from deepblur.restoration.images.io import Recording, check_claim, frame_labels
from deepblur.restoration.images.tiff_claims import check_imagej, check_page, count_pages, cut_short
from deepblur.restoration.images.tiff_layout import GREY, Layout, layout_of
from deepblur.restoration.images.tiff_metadata import about
from deepblur.restoration.images.tiff_ome import Ome, open_ome
from deepblur.restoration.images.tiff_parts import at_once_bytes, fill


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
            assert series.dataoffset is not None
            reach = series.dataoffset + math.prod(series.shape) * series.dtype.itemsize
            if reach > tiff.filehandle.size:
                raise cut_short(tiff.filehandle.size, reach)
        else:
            for number in range(layout.blocks):
                self._found(number)
        self._sibling: TiffFile | None = None
        for file in (tiff,) if ome is None else ome.files:
            weakref.finalize(self, file.close)

    def planes(self, index: int) -> np.ndarray:
        layout = self.layout
        planes = np.concatenate([layout.planes_of(self._block(number)) for number in layout.order[index]])
        return planes[list(layout.colours + layout.others)]

    def fill(self, index: int, out: np.ndarray, release: Callable[[], None]) -> None:
        """`planes` of a frame that is too large for memory, into an array (C + A, H, W) on disk."""
        fill(self, index, out, release)

    def at_once_bytes(self) -> float:
        return at_once_bytes(self)

    def _block(self, number: int) -> np.ndarray:
        block = self._contiguous(number) if self.in_a_row else self.page(number)
        return self.converted(block.reshape(self.layout.raw_shape))

    def converted(self, block: np.ndarray) -> np.ndarray:
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

    def _contiguous(self, number: int) -> np.ndarray:
        """Values that lie in a row in the file, whatever its pages say (ImageJ's large stacks have but one)."""
        dtype = self.series.dtype.newbyteorder(self.tiff.byteorder)
        count = math.prod(self.layout.raw_shape)
        assert self.series.dataoffset is not None
        handle = self.tiff.filehandle
        handle.seek(self.series.dataoffset + number * count * dtype.itemsize)
        return handle.read_array(dtype, count).astype(self.series.dtype)

    def page(self, number: int) -> np.ndarray:
        return self.checked_page(number).asarray()

    def checked_page(self, number: int) -> TiffPage | TiffFrame:
        """A page that holds what it says, its file open."""
        page = self._found(number)
        tile = (
            math.prod(self.series.keyframe.chunks) * self.series.dtype.itemsize
        )  # may claim more than the page itself
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


def open_tiff(path: Path) -> Recording:
    """The recording in a TIFF file. Raises almost anything on a damaged one; `read_recording` makes sentences of it."""
    tiff = open_file(path)
    try:
        series, ome = image_in(tiff)
        stored = sum(file.filehandle.size for file in ome.files) if ome else tiff.filehandle.size
        check_claim(math.prod(series.shape) * series.dtype.itemsize, stored)
        layout = layout_of(series)
        return _recording(path, layout, TiffSource(tiff, series, layout, ome), series)
    except BaseException:
        tiff.close()
        raise


def open_file(path: str | Path) -> TiffFile:
    """A TIFF file whose OME-XML tifffile leaves to `tiff_ome`."""
    return TiffFile(path, _multifile=False, is_ome=False)


def image_in(tiff: TiffFile) -> tuple[TiffPageSeries, Ome | None]:
    """The image in the file at its finest resolution, and what OME-XML says about it."""
    count_pages(tiff)
    first = tiff.pages.first
    if not (isinstance(first.imagelength, int) and isinstance(first.imagewidth, int)):
        raise UnreadableImageError("has sides that are no numbers; save it again")
    check_pixels(first.imagelength, first.imagewidth)
    ome = open_ome(tiff) if first.is_ome else None
    if ome is not None:
        return ome.series, ome
    images = [series for series in tiff.series if not series.keyframe.is_reduced]  # what is reduced is a thumbnail
    if len(images) > 1:
        sizes = ", ".join("x".join(map(str, series.shape)) for series in images[:4])
        raise UnreadableImageError(
            f"holds {len(images)} images that do not belong together ({sizes}, …); save each as a file of its own"
        )
    series = images[0] if images else tiff.series[0]
    if series.transform is not None:
        raise UnreadableImageError(f"is of the kind {series.kind!r}, whose values are coded; save it as OME-TIFF")
    if tiff.is_imagej:
        check_imagej(tiff, series)
    return series, None


def _recording(path: Path, layout: Layout, source: TiffSource, series: TiffPageSeries) -> Recording:
    page = series.keyframe
    dtype = np.dtype(np.uint8) if layout.colour else series.dtype
    frame_axes = [k for k in range(layout.leading) if layout.axes[k] != "C"]
    shape = list(layout.shape)
    if layout.orientation in (5, 6, 7, 8):
        y, x = layout.axes.index("Y"), layout.axes.index("X")
        shape[y], shape[x] = shape[x], shape[y]
    facts = about(source.tiff, series, None if source.ome is None else source.ome.image.pixels)
    if layout.orientation in (5, 6, 7, 8) and facts["pixel_height_um"]:
        facts["pixel_um"], facts["pixel_height_um"] = facts["pixel_height_um"], facts["pixel_um"]
    names = facts.pop("channel_names")
    notes = () if source.ome is None else source.ome.notes
    if source.tiff.pages.first.is_ome and source.ome is None:
        notes = ("its OME-XML names no image that can be read, so its pages are taken one by one",)
    return Recording(
        path=path,
        format="tiff",
        axes=layout.axes,
        shape=tuple(shape),
        dtype=np.dtype(bool) if page.bitspersample == 1 else dtype,
        length=len(layout.order),
        channels=len(layout.colours),
        labels=frame_labels("".join(layout.axes[k] for k in frame_axes), tuple(layout.shape[k] for k in frame_axes)),
        source=source,
        channel_names=names if len(names) == len(layout.colours) else (),
        rgb=len(layout.colours) == 3 and "S" in layout.axes and (bool(layout.colour) or page.photometric not in GREY),
        alpha=len(layout.others),
        bits=0 if dtype.kind not in "ui" else 8 if layout.colour else int(page.bitspersample),
        notes=notes,
        **facts,
    )


def _as_rgb(block: np.ndarray, mode: str) -> np.ndarray:
    """(H, W, 3) from (H, W, S) or (S, H, W)."""
    if block.shape[-1] != Image.getmodebands(mode):
        block = np.moveaxis(block, 0, -1)
    height, width = block.shape[:2]
    return np.asarray(Image.frombytes(mode, (width, height), np.ascontiguousarray(block).tobytes()).convert("RGB"))
