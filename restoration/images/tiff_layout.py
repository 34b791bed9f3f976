"""Where each frame's planes lie in a TIFF file.

A file is a row of blocks, one per page: (Y, X), (Y, X, S) or (S, Y, X). The leading axes count the blocks.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image
from tifffile import PHOTOMETRIC, TiffPage, TiffPageSeries

from deepblur.platform.data.image_file import ORIENTATION_TAG, upright
from deepblur.platform.system.errors import UnreadableImageError

GREY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)

_LEADING = "TZCIQ"
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha; 0 is a value of unknown meaning
_MAX_PLANES = 1024
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

    def views(self, block: np.ndarray) -> np.ndarray:
        """A block's values as they are, seen as (S, H, W), upright."""
        samples = self.block_axes.find("S")
        return upright(block[None] if samples < 0 else np.moveaxis(block, samples, 0), self.orientation)


def layout_of(series: TiffPageSeries) -> Layout:
    """Raises UnreadableImageError, without the file's name, for axes, samples or colours that have no meaning here."""
    page = series.keyframe
    axes, shape = series.axes, tuple(series.shape)
    if axes.endswith("YXC") and page.axes.endswith("YXS"):  # samples by another name
        axes = axes[:-1] + "S"
    position = next((k for k in range(len(axes)) if set(axes[k:]) in ({"Y", "X"}, {"Y", "X", "S"})), None)
    if position is None and set("YX") <= set(axes) <= set(_LEADING + "YXS") and len(set(axes)) == len(axes):
        raise UnreadableImageError(
            f"has axes {axes} of sizes {'x'.join(map(str, shape))}, but rows and columns (Y, X) are to come last; "
            f"save it in the order {''.join(sorted(axes, key='QITZCYXS'.index))}"
        )
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
    inverted = page.photometric == PHOTOMETRIC.MINISWHITE and page.bitspersample > 1 and series.kind != "imagej"
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
    if page.photometric in (*GREY, PHOTOMETRIC.RGB):
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


def _channels(page: TiffPage, samples: int, blocks: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Among the C · S planes of a frame, those to restore and those to keep."""
    extra = tuple(page.extrasamples or ())
    colour = page.photometric not in GREY
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
