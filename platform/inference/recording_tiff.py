"""TIFF as a recording: its pixels on demand, and what the file says about itself."""

import math
import os
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from tifffile import COMPRESSION, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from deepblur.platform.image_file import UnreadableImageError, check_pixels
from deepblur.platform.inference.recording import Recording, check_claim, frame_labels
from deepblur.platform.inference.tiff_layout import GREY, Layout, layout_of
from deepblur.platform.inference.tiff_metadata import about
from deepblur.platform.inference.tiff_parts import at_once_bytes, fill
from deepblur.platform.tiff_streams import check_streams


class TiffSource:
    """An open TIFF file; closed when nobody needs it any more."""

    def __init__(self, tiff: TiffFile, series: TiffPageSeries, layout: Layout) -> None:
        self.layout = layout
        self.tiff = tiff
        self.series = series
        self._size = tiff.filehandle.size
        if series.dataoffset is not None:
            self._check_reach(series.dataoffset + math.prod(series.shape) * series.dtype.itemsize)
        weakref.finalize(self, tiff.close)

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
        block = self.page(number) if self.series.dataoffset is None else self._contiguous(number)
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
        """A page that holds what it says."""
        page = self.series[number]
        if page is None:
            raise UnreadableImageError("is missing from the file, although its metadata names it; save it again")
        reach = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        self._check_reach(reach)
        tile = (
            math.prod(self.series.keyframe.chunks) * self.series.dtype.itemsize
        )  # may claim more than the page itself
        stored = sum(page.databytecounts)
        check_claim(max(page.nbytes, tile), stored)
        if page.compression == COMPRESSION.NONE:  # tifffile would fill what is missing with zeros
            bits = math.prod(page.shape) * self.series.keyframe.bitspersample
            if stored < bits // 8:
                raise UnreadableImageError(f"is cut short ({stored} bytes of at least {bits // 8}); copy it again")
        check_streams(page)
        return page

    def _check_reach(self, reach: int) -> None:
        if reach > self._size:
            raise UnreadableImageError(f"is cut short ({self._size} bytes of at least {reach}); copy it again")


def open_tiff(path: Path) -> Recording:
    """The recording in a TIFF file. Raises almost anything on a damaged one; `read_recording` makes sentences of it."""
    tiff = TiffFile(path, _multifile=False)  # one file of a set of OME files is a recording of its own
    try:
        series = _only_series(tiff)
        check_claim(math.prod(series.shape) * series.dtype.itemsize, tiff.filehandle.size)
        layout = layout_of(series)
        return _recording(path, layout, TiffSource(tiff, series, layout), series)
    except BaseException:
        tiff.close()
        raise


def _only_series(tiff: TiffFile) -> TiffPageSeries:
    """The image in the file at its finest resolution."""
    if not tiff.pages:
        raise UnreadableImageError("has no page; save it again")
    first = tiff.pages.first
    if not (isinstance(first.imagelength, int) and isinstance(first.imagewidth, int)):
        raise UnreadableImageError("has sides that are no numbers; save it again")
    check_pixels(first.imagelength, first.imagewidth)
    _check_declared_planes(tiff)
    images = [series for series in tiff.series if not series.keyframe.is_reduced]  # what is reduced is a thumbnail
    if len(images) > 1:
        sizes = ", ".join("x".join(map(str, series.shape)) for series in images[:4])
        raise UnreadableImageError(
            f"holds {len(images)} images that do not belong together ({sizes}, …); save each as a file of its own"
        )
    series = images[0] if images else tiff.series[0]
    if series.transform is not None:
        raise UnreadableImageError(f"is of the kind {series.kind!r}, whose values are coded; save it as OME-TIFF")
    return series


def _check_declared_planes(tiff: TiffFile) -> None:
    """OME metadata may name any number of planes, and each would cost memory."""
    first = tiff.pages.first
    if not first.is_ome:
        return
    root = ElementTree.fromstring(first.description)
    for pixels in root.findall("{*}Image/{*}Pixels"):
        planes = math.prod(int(pixels.get(f"Size{axis}", 1)) for axis in "ZTC")
        listed = sum(int(data.get("PlaneCount", data.get("NumPlanes", 0))) for data in pixels.findall("{*}TiffData"))
        room = os.fstat(tiff.filehandle.fileno()).st_size // 8  # no page is smaller than its directory
        if max(planes, listed) > room:
            raise UnreadableImageError(f"names {max(planes, listed)} planes, more than fit in the file; save it again")


def _recording(path: Path, layout: Layout, source: TiffSource, series: TiffPageSeries) -> Recording:
    page = series.keyframe
    dtype = np.dtype(np.uint8) if layout.colour else series.dtype
    frame_axes = [k for k in range(layout.leading) if layout.axes[k] != "C"]
    shape = list(layout.shape)
    if layout.orientation in (5, 6, 7, 8):
        y, x = layout.axes.index("Y"), layout.axes.index("X")
        shape[y], shape[x] = shape[x], shape[y]
    facts = about(source.tiff, series)
    names = facts.pop("channel_names")
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
        **facts,
    )


def _as_rgb(block: np.ndarray, mode: str) -> np.ndarray:
    """(H, W, 3) from (H, W, S) or (S, H, W)."""
    if block.shape[-1] != Image.getmodebands(mode):
        block = np.moveaxis(block, 0, -1)
    height, width = block.shape[:2]
    return np.asarray(Image.frombytes(mode, (width, height), np.ascontiguousarray(block).tobytes()).convert("RGB"))
