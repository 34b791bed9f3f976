"""What a TIFF file claims, held against what is in it: a copy that was cut off is no shorter recording."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tifffile import COMPRESSION, TiffFile, TiffFormat, TiffFrame, TiffPage, TiffPageSeries

from deepblur.platform.system.errors import UnreadableImageError

_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_MAX_TAGS = 4096
"""More in one directory is damage; tifffile leaves such a page out."""


def cut_short(size: int, reach: int) -> UnreadableImageError:
    return UnreadableImageError(f"is cut short ({size} bytes of at least {reach}); copy it again")


def count_pages(tiff: TiffFile) -> int:
    """Number of pages in the chain of directories.

    Raises:
        UnreadableImageError: the chain leads out of the file, or in a circle, where tifffile would just end it.
    """
    if not tiff.pages:
        raise UnreadableImageError("has no page; save it again")
    form, handle = tiff.tiff, tiff.filehandle
    at, seen = tiff.pages.first.offset, set[int]()
    while at:
        if at in seen:
            raise UnreadableImageError(f"leads in a circle after {len(seen)} pages; save it again")
        seen.add(at)
        try:
            handle.seek(at)
            (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
            if tags > _MAX_TAGS:
                raise UnreadableImageError(f"has {tags} tags in page {len(seen)}, which is damaged; copy it again")
            entries = handle.read(tags * form.tagsize)
            (following,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
        except struct.error:
            raise cut_short(handle.size, handle.tell() + 1) from None
        reach = max(_reach(entries, form), following + 1 if following else 0)
        if reach > handle.size:
            raise cut_short(handle.size, reach)
        at = following
    return len(seen)


def _reach(entries: bytes, form: TiffFormat) -> int:
    """Where the value ends that lies last in the file: tifffile would do without a tag whose value is cut off."""
    if form.is_ndpi:  # has entries of its own
        return 0
    entry = form.byteorder + ("HHQQ" if form.is_bigtiff else "HHII")
    inline = 8 if form.is_bigtiff else 4
    ends = [0]
    for _, kind, count, place in struct.iter_unpack(entry, entries):
        size = _TYPE_BYTES.get(kind, 0) * count
        if size > inline:
            ends.append(place + size)
    return max(ends)


def check_imagej(tiff: TiffFile, series: TiffPageSeries) -> None:
    """Raises UnreadableImageError where ImageJ's words name more images than the file holds."""
    known = tiff.imagej_metadata or {}
    page = tiff.pages.first
    samples = page.samplesperpixel  # which some programs declare as channels
    stated = [int(known.get(key, 1)) for key in ("channels", "slices", "frames")]
    claimed = max(int(known.get("images", 1)), math.prod(stated))
    held = math.prod(series.shape) // max(page.size, 1)
    if claimed <= held * samples:
        return
    reach = page.dataoffsets[0] + claimed * page.nbytes if page.is_final else 0
    if reach > tiff.filehandle.size:
        raise cut_short(tiff.filehandle.size, reach)
    raise UnreadableImageError(f"is cut short ({held} images of {claimed} that it names); copy it again")


@contextmanager
def reopened(page: TiffPage | TiffFrame) -> Iterator[None]:
    """Within the block the page's file is open: those of a set are closed, as it may have more than may be open."""
    handle = page.parent.filehandle
    closed = handle.closed
    if closed:
        handle.open()
    try:
        yield
    finally:
        if closed:
            handle.close()


def check_page(page: TiffPage | TiffFrame) -> None:
    """Raises UnreadableImageError where a page, or one of its strips or tiles, lies outside of the file or nowhere."""
    size = page.parent.filehandle.size
    key = page.keyframe
    assert key is not None
    if key.compression == COMPRESSION.NONE:  # tifffile would fill what is missing with zeros
        stored, needed = sum(page.databytecounts), math.prod(key.shape) * key.bitspersample // 8
        if stored < needed:
            raise cut_short(stored, needed)
    expected = 1 if key.is_contiguous else math.prod(key.chunked)
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    lacking = expected - sum(1 for at, count in places if at and count)
    if lacking > 0:
        raise UnreadableImageError(f"lacks the pixels of {lacking} of {expected} strips or tiles; save it again")
    reach = max(at + count for at, count in places)
    if reach > size:
        raise cut_short(size, reach)
