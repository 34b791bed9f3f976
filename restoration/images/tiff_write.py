"""A TIFF recording written back: the same blocks in the same order, with the tags that the file had.

The description of the first page goes over word for word, so that ImageJ's and tifffile's own keep all they say; of
OME-XML only the places of the planes are written anew. ImageJ stacks are written without compression in one row, as
ImageJ expects them. Lossy compressions become deflate.
"""

import hashlib
import itertools
import math
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, RESUNIT, TiffPage, TiffWriter

from deepblur.platform.system.whole_files import replacing
from deepblur.restoration.images.ome_xml import own_text
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.scratch import bands
from deepblur.restoration.images.tiff_layout import Layout
from deepblur.restoration.images.tiff_ome import Ome
from deepblur.restoration.images.tiff_read import image_in, open_file
from deepblur.restoration.images.tiff_source import TiffSource
from deepblur.restoration.images.tiff_tags import Words, description_of, later_words, tags_of

_SIGNED = 2**20
"""Values of a result by which it differs from another one of the same file."""
_BIG_BYTES = 2**32 - 2**25
_LOSSLESS = {
    COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS, COMPRESSION.LZMA,
    COMPRESSION.ZSTD,
}  # fmt: skip
_PREDICTABLE = _LOSSLESS - {COMPRESSION.PACKBITS}
_OWN_STRUCTURE = ("imagej", "shaped", "generic", "uniform", "scanimage")
_PAGES_SAY_NOTHING = ("imagej", "shaped")


def write_tiff(path: Path, frames: Iterator[np.ndarray], like: Recording) -> None:
    """See `write_recording`."""
    source = like.source
    assert isinstance(source, TiffSource)
    layout = source.layout
    options = _options(source, like)
    said = _later_bytes(source, layout)
    raw = math.prod(layout.shape) * like.dtype.itemsize
    needed = raw if options["compression"] is None else 0
    with replacing(path, needed + said) as file, tempfile.TemporaryFile(dir=path.parent) as scratch:
        blocks = _blocks(frames, like, layout, scratch)
        first = next(blocks, None)
        if source.ome is not None:
            made = b"" if first is None else first.reshape(-1)[:_SIGNED].tobytes()
            options["description"] = _ome_description(source.ome, layout, made)
        once = itertools.chain(() if first is None else (first,), blocks)
        del first
        with TiffWriter(
            file,
            bigtiff=source.tiff.is_bigtiff or raw + said > _BIG_BYTES,
            byteorder=source.tiff.byteorder,
            ome=False,
            shaped=False,
        ) as writer:
            if said:
                _write_pages(writer, once, later_words(source.series, layout.blocks), options)
            else:  # without close(), by which tifffile would cut off the count of frames
                writer.write(once, shape=(layout.blocks, *layout.block_shape), dtype=like.dtype, **options)
        _confirm(file.name, layout)
        for _ in blocks:  # where tifffile stops counting, more frames than fit are still an error
            pass


def _later_bytes(source: TiffSource, layout: Layout) -> int:
    """How much the pages say that come after the first."""
    if source.in_a_row and source.series.kind in _PAGES_SAY_NOTHING:
        return 0
    words = later_words(source.series, layout.blocks)
    return sum(len(text or b"") + sum(12 + len(tag[3]) for tag in tags) for text, tags in words)


def _write_pages(
    writer: TiffWriter, blocks: Iterator[np.ndarray], later: Iterator[Words], options: dict[str, Any]
) -> None:
    """One by one, each with what it says."""
    colours = [tag for tag in options["extratags"] if tag[0] == 320]
    words = itertools.chain([(options["description"], options["extratags"])], ((t, [*k, *colours]) for t, k in later))
    for block, (text, tags) in zip(blocks, words, strict=False):
        writer.write(block, contiguous=False, **options | {"description": text, "extratags": tags})


def _confirm(file: str, layout: Layout) -> None:
    """Where a damaged description would say other axes than were read, tifffile's own words for them replace it."""
    same = False
    with suppress(Exception), open_file(file) as tiff:
        series, _ = image_in(tiff)
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
        "extratags": tags_of(page),
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


def _description(source: TiffSource, like: Recording) -> str | bytes | None:
    """Of the first page."""
    layout, kind = source.layout, source.series.kind
    if kind in _OWN_STRUCTURE or layout.leading == 0:
        return None if layout.colour and kind == "shaped" else description_of(source.tiff.pages.first)
    return _translated(layout, like)


def _ome_description(ome: Ome, layout: Layout, made_of: bytes) -> bytes:
    """The file's OME-XML with its planes in the order in which they are written, and a UUID of its own."""
    fastest_first = layout.axes[: layout.leading][::-1]
    if "S" in layout.axes:
        fastest_first = "C" + fastest_first.replace("C", "")
    own = ome.root.get("UUID")  # the same work twice gives the same file, so it follows from what goes in
    uuid = None if own is None else uuid5(NAMESPACE_OID, own + hashlib.sha256(made_of).hexdigest()).urn
    root, image = deepcopy((ome.root, ome.image))
    return own_text(root, image, fastest_first, layout.blocks, uuid)


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
