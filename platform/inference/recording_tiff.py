"""TIFF as a recording: where each frame's planes lie, and what the file says about itself.

A file is a row of blocks, one per page: (Y, X), (Y, X, S) or (S, Y, X). The leading axes count the blocks.
"""

import math
import os
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from tifffile import PHOTOMETRIC, TiffFile, TiffPage, TiffPageSeries

from deepblur.platform.image_file import ORIENTATION_TAG, UnreadableImageError, check_pixels, upright
from deepblur.platform.inference.recording import Recording, check_claim, frame_labels
from deepblur.platform.inference.tiff_metadata import about

_LEADING = "TZCIQ"
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha; 0 is a value of unknown meaning
_MAX_PLANES = 1024
_GREY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_CONVERTED = {PHOTOMETRIC.SEPARATED: "CMYK", PHOTOMETRIC.YCBCR: "YCbCr"}
_JPEG = (6, 7)


@dataclass(frozen=True)
class Layout:
    """How blocks and frames relate."""

    axes: str
    shape: tuple[int, ...]
    """As stored, before any turning."""
    leading: int
    """Number of axes that count blocks."""
    raw_shape: tuple[int, ...]
    """Of a block in the file; differs from `block_shape` where colours are converted to RGB."""
    colour: str
    """What becomes RGB: "palette", "CMYK", "YCbCr", or "" for nothing."""
    inverted: bool
    """0 is white in the file."""
    orientation: int
    colours: tuple[int, ...]
    """Of a frame's C · S planes, those to restore."""
    others: tuple[int, ...]
    """Those to keep, such as alpha."""

    @property
    def block_axes(self) -> str:
        return self.axes[self.leading :]

    @property
    def block_shape(self) -> tuple[int, ...]:
        return self.shape[self.leading :]

    @property
    def blocks(self) -> int:
        return math.prod(self.shape[: self.leading])

    @cached_property
    def order(self) -> np.ndarray:
        """(frames, C) numbers of the blocks that make up each frame."""
        numbers = np.arange(self.blocks).reshape(self.shape[: self.leading])
        channel = self.axes[: self.leading].find("C")
        if channel < 0:
            return numbers.reshape(-1, 1)
        return np.moveaxis(numbers, channel, -1).reshape(-1, self.shape[channel])

    def planes_of(self, block: np.ndarray) -> np.ndarray:
        """A stored block as (S, H, W), upright intensities."""
        samples = self.block_axes.find("S")
        planes = block[None] if samples < 0 else np.moveaxis(block, samples, 0)
        return upright(~planes if self.inverted else planes, self.orientation)

    def block_of(self, planes: np.ndarray) -> np.ndarray:
        """The inverse of `planes_of`."""
        planes = upright(planes, {6: 8, 8: 6}.get(self.orientation, self.orientation))
        if self.inverted:
            planes = ~planes
        samples = self.block_axes.find("S")
        return planes[0] if samples < 0 else np.moveaxis(planes, 0, samples)


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

    def _block(self, number: int) -> np.ndarray:
        block = self._page(number) if self.series.dataoffset is None else self._contiguous(number)
        block = block.reshape(self.layout.raw_shape)
        if self.layout.colour == "palette":
            return np.moveaxis(self._colormap[:, block], 0, -1)
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

    def _page(self, number: int) -> np.ndarray:
        page = self.series[number]
        if page is None:
            raise UnreadableImageError("is missing from the file, although its metadata names it; save it again")
        reach = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        self._check_reach(reach)
        tile = (
            math.prod(self.series.keyframe.chunks) * self.series.dtype.itemsize
        )  # may claim more than the page itself
        check_claim(max(page.nbytes, tile), sum(page.databytecounts))
        return page.asarray()

    def _check_reach(self, reach: int) -> None:
        if reach > self._size:
            raise UnreadableImageError(f"is cut short ({self._size} bytes of at least {reach}); copy it again")


def open_tiff(path: Path) -> Recording:
    """The recording in a TIFF file. Raises almost anything on a damaged one; `read_recording` makes sentences of it."""
    tiff = TiffFile(path, _multifile=False)  # one file of a set of OME files is a recording of its own
    try:
        series = _only_series(tiff)
        check_claim(math.prod(series.shape) * series.dtype.itemsize, tiff.filehandle.size)
        layout = _layout(series)
        return _recording(path, layout, TiffSource(tiff, series, layout), series)
    except BaseException:
        tiff.close()
        raise


def _only_series(tiff: TiffFile) -> TiffPageSeries:
    """The image in the file at its finest resolution."""
    if not tiff.pages:
        raise UnreadableImageError("has no page; save it again")
    first = tiff.pages.first
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


def _layout(series: TiffPageSeries) -> Layout:
    page = series.keyframe
    axes, shape = series.axes, tuple(series.shape)
    position = next((k for k in range(len(axes)) if set(axes[k:]) in ({"Y", "X"}, {"Y", "X", "S"})), None)
    if position is None or not set(axes[:position]) <= set(_LEADING) or len(set(axes)) < len(axes):
        raise UnreadableImageError(
            f"has axes {axes} of sizes {'x'.join(map(str, shape))}, but only T, Z, C, Y, X and samples have a meaning; "
            "save one part of it"
        )
    if position > 3:
        raise UnreadableImageError(f"has {len(axes)} axes ({axes}), more than T, Z, C, Y, X; save one part of it")
    if series.dataoffset is None and tuple(page.shape) != shape[position:]:
        raise UnreadableImageError(
            f"stores {page.axes} {page.shape} in a page where {axes[position:]} {shape[position:]} is expected; save "
            "it as OME-TIFF"
        )
    if "S" in axes and shape[axes.index("S")] == 1:  # no axis at all
        shape = tuple(size for size, axis in zip(shape, axes, strict=True) if axis != "S")
        axes = axes.replace("S", "")
    raw_shape = shape[position:]
    colour = _colour(series)
    if colour == "palette":
        axes, shape = axes + "S", (*shape, 3)
    elif colour:
        axes = axes[:position] + "YXS"
        shape = (*shape[:position], page.imagelength, page.imagewidth, 3)
    inverted = page.photometric == PHOTOMETRIC.MINISWHITE and page.bitspersample > 1
    if inverted and (series.dtype.kind != "u" or page.bitspersample != 8 * series.dtype.itemsize):
        raise UnreadableImageError(
            f"says that 0 is white, but {series.dtype} has no black; invert it and save it again"
        )
    samples = shape[axes.index("S")] if "S" in axes else 1
    channels = shape[axes.index("C")] if "C" in axes else 1
    if samples * channels > _MAX_PLANES:
        raise UnreadableImageError(
            f"has {samples * channels} channels, more than {_MAX_PLANES}; save it as a stack, with Z or T as axis"
        )
    colours, others = _channels(page, samples, channels)
    tag = page.tags.get(ORIENTATION_TAG)
    return Layout(
        axes, shape, position, raw_shape, colour, inverted, 1 if tag is None else int(tag.value), colours, others
    )


def _colour(series: TiffPageSeries) -> str:
    """What is to become RGB, as `Layout.colour`."""
    page = series.keyframe
    if page.photometric in (*_GREY, PHOTOMETRIC.RGB):
        return ""
    if page.photometric == PHOTOMETRIC.PALETTE:
        if series.kind in ("imagej", "ome"):  # for them it is a way to show intensities
            return ""
        if not isinstance(page.colormap, np.ndarray) or "S" in series.axes:
            raise UnreadableImageError("has a palette without colours; save it as RGB")
        return "palette"
    if page.photometric in (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW):
        raise UnreadableImageError("is a camera's raw file; develop it to an image first")
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression in _JPEG:
        return ""  # the JPEG decoder gives RGB
    mode = _CONVERTED.get(PHOTOMETRIC(page.photometric), "")
    samples = series.shape[series.axes.index("S")] if "S" in series.axes else 1
    if not mode or series.dtype != np.uint8 or samples != Image.getmodebands(mode):
        raise UnreadableImageError(
            f"has {samples} samples of {series.dtype} in colours of the kind {page.photometric!s}; save it as RGB"
        )
    return mode


def _as_rgb(block: np.ndarray, mode: str) -> np.ndarray:
    """(H, W, 3) from (H, W, S) or (S, H, W)."""
    if block.shape[-1] != Image.getmodebands(mode):
        block = np.moveaxis(block, 0, -1)
    height, width = block.shape[:2]
    return np.asarray(Image.frombytes(mode, (width, height), np.ascontiguousarray(block).tobytes()).convert("RGB"))


def _channels(page: TiffPage, samples: int, blocks: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Among the C · S planes of a frame, those to restore and those to keep."""
    extra = tuple(page.extrasamples or ())
    colour = page.photometric not in _GREY
    kept = {
        sample
        for sample in range(samples)
        if (colour and sample >= 3)
        or (not colour and sample > 0 and len(extra) >= samples - sample and extra[sample - samples] in _ALPHA)
    }
    planes = range(samples * blocks)
    return (
        tuple(plane for plane in planes if plane % samples not in kept),
        tuple(plane for plane in planes if plane % samples in kept),
    )


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
        rgb=len(layout.colours) == 3 and "S" in layout.axes and (bool(layout.colour) or page.photometric not in _GREY),
        alpha=len(layout.others),
        bits=0 if dtype.kind not in "ui" else 8 if layout.colour else int(page.bitspersample),
        **facts,
    )
