"""A TIFF recording written back: the same blocks in the same order, with the tags that the file had.

The description of the first page goes over word for word, so that ImageJ's and tifffile's own keep all they say; of
OME-XML only the places of the planes are written anew. ImageJ stacks are written without compression in one row, as
ImageJ expects them. Lossy compressions become deflate.
"""

import itertools
import math
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, RESUNIT, TiffPage, TiffWriter

from deepblur.platform.inference.output_file import replacing
from deepblur.platform.inference.recording import Recording
from deepblur.platform.inference.recording_tiff import TiffSource
from deepblur.platform.inference.scratch import bands
from deepblur.platform.inference.tiff_layout import Layout

_BIG_BYTES = 2**32 - 2**25
_LOSSLESS = {
    COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS, COMPRESSION.LZMA,
    COMPRESSION.ZSTD,
}  # fmt: skip
_PREDICTABLE = _LOSSLESS - {COMPRESSION.PACKBITS}
_KEPT_TAGS = (
    269, 271, 272, 274, 285, 305, 306, 315, 316, 33432,  # document, camera, orientation, page, program, date, people
    700, 33723, 34675,  # XMP, IPTC, colour profile
    50838, 50839, 51123,  # ImageJ's ranges, LUTs, labels, overlays; Micro-Manager
)  # fmt: skip
_OWN_STRUCTURE = ("ome", "imagej", "shaped", "generic", "uniform")


def write_tiff(path: Path, frames: Iterator[np.ndarray], like: Recording) -> None:
    """See `write_recording`."""
    source = like.source
    assert isinstance(source, TiffSource)
    layout = source.layout
    options = _options(source, like)
    raw = math.prod(layout.shape) * like.dtype.itemsize
    needed = raw if options["compression"] is None else 0
    with replacing(path, needed) as file, tempfile.TemporaryFile(dir=path.parent) as scratch:
        blocks = _blocks(frames, like, layout, scratch)
        with TiffWriter(
            file,
            bigtiff=source.tiff.is_bigtiff or raw > _BIG_BYTES,
            byteorder=source.tiff.byteorder,
            ome=False,
            shaped=False,
        ) as writer:
            once = itertools.chain(blocks)  # without close(), by which tifffile would cut off the count of frames
            writer.write(once, shape=(layout.blocks, *layout.block_shape), dtype=like.dtype, **options)
        _confirm(file.name, layout)
        for _ in blocks:  # where tifffile stops counting, more frames than fit are still an error
            pass


def _confirm(file: str, layout: Layout) -> None:
    """Where a damaged description would say other axes than were read, tifffile's own words for them replace it."""
    with tifffile.TiffFile(file, _multifile=False) as tiff:
        series = tiff.series[0]
        same = (series.axes, series.shape) == (layout.axes, layout.shape)
    if not same:
        tifffile.tiffcomment(file, tifffile.tifffile.shaped_description(layout.shape, axes=layout.axes))


def _blocks(frames: Iterator[np.ndarray], like: Recording, layout: Layout, scratch: Any) -> Iterator[np.ndarray]:
    """Blocks in the order of the file. Where channels run slower than frames, they wait in `scratch`, not in memory."""
    written = 0
    size = math.prod(layout.block_shape) * like.dtype.itemsize
    for index, frame in enumerate(frames):
        planes = dict(zip(layout.colours, frame, strict=True))
        planes |= dict(zip(layout.others, like.kept(index) if layout.others else (), strict=True))
        numbers = layout.order[index]
        samples = len(planes) // len(numbers)
        for place, number in enumerate(numbers):
            block = [planes[place * samples + sample] for sample in range(samples)]
            stored = _block(block, like, layout)
            if number == written:
                yield stored
                written += 1
            else:
                scratch.seek(int(number) * size)
                scratch.write(stored.data)
            like.scratch.release()
    scratch.flush()
    for number in range(written, layout.blocks):
        yield np.memmap(scratch, like.dtype, "r", number * size, layout.block_shape)


def _block(planes: list[np.ndarray], like: Recording, layout: Layout) -> np.ndarray:
    """Planes (H, W), upright, as they are stored."""
    stored = like.scratch.empty(layout.block_shape, like.dtype)
    for rows in bands(planes[0].shape):
        for view, plane in zip(layout.views(stored), planes, strict=True):
            view[rows] = ~plane[rows] if layout.inverted else plane[rows]
        like.scratch.release()
    return stored


def _options(source: TiffSource, like: Recording) -> dict[str, Any]:
    """How the pages are to be written, and what they say."""
    layout, tiff, series = source.layout, source.tiff, source.series
    page = tiff.pages.first
    photometric = page.photometric
    if layout.colour or photometric == PHOTOMETRIC.YCBCR:
        photometric = PHOTOMETRIC.RGB
    samples = layout.block_axes.find("S")
    if photometric == PHOTOMETRIC.RGB and (samples < 0 or layout.block_shape[samples] < 3):
        photometric = PHOTOMETRIC.MINISBLACK  # a damaged tag: three colours cannot be meant
    options: dict[str, Any] = {
        "photometric": photometric,
        "metadata": None,
        "software": False,
        "description": _description(source, like),
        "extratags": _tags(page),
        "planarconfig": None if samples < 0 else "separate" if samples == 0 else "contig",
        "maxworkers": 1,
        **_packing(page, like, contiguous=series.kind == "imagej" and layout.blocks > 1),
    }
    extra = 0 if samples < 0 else layout.block_shape[samples] - (3 if photometric == PHOTOMETRIC.RGB else 1)
    if extra and extra == len(page.extrasamples) and set(page.extrasamples) <= {0, 1, 2}:
        options["extrasamples"] = tuple(page.extrasamples)
    if isinstance(page.colormap, np.ndarray) and page.colormap.dtype == np.uint16 and not layout.colour:
        options["extratags"].append((320, 3, page.colormap.size, page.colormap.ravel().tolist(), False))
    with suppress(KeyError, TypeError, ValueError):  # a resolution that makes no sense is none
        (x, per_x), (y, per_y) = page.tags[282].value, page.tags[283].value
        if min(x, per_x, y, per_y) > 0:
            unit = RESUNIT(page.tags[296].value if 296 in page.tags else RESUNIT.INCH)
            options |= {"resolution": ((x, per_x), (y, per_y)), "resolutionunit": unit}
    return options


def _packing(page: TiffPage, like: Recording, contiguous: bool) -> dict[str, Any]:
    if page.compression == COMPRESSION.NONE or contiguous:
        return {"compression": None}
    if page.compression not in _LOSSLESS:
        return {"compression": COMPRESSION.ADOBE_DEFLATE}
    predictor = page.predictor in (2, 3) and page.compression in _PREDICTABLE
    fits = like.dtype.kind == "f" or like.dtype.itemsize <= 4
    return {"compression": page.compression, "predictor": predictor and fits}


def _tags(page: TiffPage) -> list[tuple[int, int, int, bytes, bool]]:
    """Tags that say nothing about where the pixels lie, byte for byte."""
    handle = page.parent.filehandle
    kept = []
    for code in _KEPT_TAGS:
        tag = page.tags.get(code)
        if tag is not None and tag.valuebytecount:
            handle.seek(tag.valueoffset)
            kept.append((code, int(tag.dtype), int(tag.count), handle.read(tag.valuebytecount), True))
    return kept


def _description(source: TiffSource, like: Recording) -> str | bytes | None:
    layout, page, kind = source.layout, source.tiff.pages.first, source.series.kind
    tag = page.tags.get(270)
    if kind == "ome":
        return _ome_description(page.description, layout)
    if kind in _OWN_STRUCTURE:
        if tag is None or (layout.colour and kind == "shaped"):
            return None
        page.parent.filehandle.seek(tag.valueoffset)
        return page.parent.filehandle.read(tag.valuebytecount).rstrip(b"\0")
    return _translated(layout, like)


def _ome_description(xml: str, layout: Layout) -> bytes:
    """The file's OME-XML with its planes in the order in which they are written."""
    root = ElementTree.fromstring(xml)
    ElementTree.register_namespace("", root.tag.partition("}")[0].lstrip("{"))
    ElementTree.register_namespace("xsi", "http://www.w3.org/2001/XMLSchema-instance")
    pixels = root.find("{*}Image/{*}Pixels")
    assert pixels is not None
    fastest_first = layout.axes[: layout.leading][::-1]
    if "S" in layout.axes:
        fastest_first = "C" + fastest_first.replace("C", "")
    if fastest_first != "".join(axis for axis in pixels.get("DimensionOrder", "") if axis in fastest_first):
        order = fastest_first + "".join(axis for axis in "CZT" if axis not in fastest_first)
        pixels.set("DimensionOrder", f"XY{order}")
    places = pixels.findall("{*}TiffData")
    where = list(pixels).index(places[0])
    for place in places:
        pixels.remove(place)
    place = ElementTree.Element(places[0].tag, {"IFD": "0", "PlaneCount": str(layout.blocks)})
    place.tail = places[-1].tail
    pixels.insert(where, place)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _translated(layout: Layout, like: Recording) -> str | None:
    """A manufacturer's structure cannot be written; ImageJ's or tifffile's words for the axes take its place."""
    if layout.leading == 0:
        return None
    known: dict[str, Any] = {}
    if like.z_um:
        known["spacing"] = like.z_um
    if like.interval_s:
        known["finterval"] = like.interval_s
    if like.pixel_um:
        known["unit"] = "um"
    if like.dtype in (np.uint8, np.uint16, np.float32) and layout.axes == "".join(
        axis for axis in "TZCYXS" if axis in layout.axes
    ):
        return tifffile.tifffile.imagej_description(layout.shape, rgb=like.rgb, axes=layout.axes, **known)
    return tifffile.tifffile.shaped_description(layout.shape, axes=layout.axes, **known)
