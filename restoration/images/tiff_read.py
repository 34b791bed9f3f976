"""TIFF as a recording: the image in the file, and what it says about itself; the pixels are those of `tiff_source`."""

import math
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffPageSeries

from deepblur.platform.data.image_file import check_pixels
from deepblur.platform.system.errors import UnreadableImageError
from deepblur.restoration.images.recording import Recording, check_claim, frame_labels
from deepblur.restoration.images.tiff_claims import check_imagej, count_pages
from deepblur.restoration.images.tiff_layout import GREY, Layout, layout_of
from deepblur.restoration.images.tiff_metadata import about
from deepblur.restoration.images.tiff_ome import Ome, open_ome
from deepblur.restoration.images.tiff_source import TiffSource


def open_tiff(path: Path, position: int | None = None) -> Recording:
    """The recording in a TIFF file, or one of several in an OME-TIFF.

    Raises almost anything on a damaged one; `read_recording` makes sentences of it.
    """
    tiff = open_file(path)
    try:
        series, ome = image_in(tiff, position)
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


def image_in(tiff: TiffFile, position: int | None = None) -> tuple[TiffPageSeries, Ome | None]:
    """The image in the file at its finest resolution, and what OME-XML says about it."""
    count_pages(tiff)
    first = tiff.pages.first
    if not (isinstance(first.imagelength, int) and isinstance(first.imagewidth, int)):
        raise UnreadableImageError("has sides that are no numbers; save it again")
    check_pixels(first.imagelength, first.imagewidth)
    ome = open_ome(tiff, position) if first.is_ome else None
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
    facts = about(source.tiff, series, source.ome, len(layout.colours))
    if layout.orientation in (5, 6, 7, 8) and "pixel_height_um" in facts:
        facts |= {"pixel_um": facts["pixel_height_um"], "pixel_height_um": facts.get("pixel_um")}
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
        rgb=len(layout.colours) == 3 and "S" in layout.axes and (bool(layout.colour) or page.photometric not in GREY),
        alpha=len(layout.others),
        bits=0 if dtype.kind not in "ui" else 8 if layout.colour else int(page.bitspersample),
        notes=notes,
        **facts,
    )
