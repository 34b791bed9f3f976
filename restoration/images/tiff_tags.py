"""What the pages of a TIFF say beside their pixels, as far as it stays true of restored ones: descriptions and tags."""

from collections.abc import Iterator

from tifffile import TiffPage, TiffPageSeries

from deepblur.restoration.images.tiff_claims import reopened

Tag = tuple[int, int, int, bytes, bool]
"""Code, type, count, value byte for byte, and whether it is written once, as tifffile takes them."""

Words = tuple[bytes | None, list[Tag]]
"""Description and tags of a page."""

_KEPT = (
    269, 271, 272, 274, 285, 305, 306, 315, 316, 33432,  # document, camera, orientation, page, program, date, people
    700, 33723, 34675,  # XMP, IPTC, colour profile
)  # fmt: skip
_ANDOR = range(4864, 5031)
_PRIVATE = range(32768, 65536)
_NOT_KEPT = {
    *range(32995, 32999), *range(33421, 33423),  # of volumes and raw sensors
    *range(33445, 33453), *range(33628, 33632), 34361, 34362, 34412, 43314,  # MD Gel, MetaMorph, FluoView, LSM, NIH:
    33560, *range(65420, 65460),  # Olympus SIS, Hamamatsu NDPI: they say how the file is built, and where
    34377, 37724,  # Photoshop's copies of the old pixels
    34665, 34853, 40965,  # places of other directories
    34925, 34926, 34927, 34928, 34929, 50674, 42113, 50784,  # of compressions; values that stand for "nothing"
    *range(50706, 50838), *range(50840, 51023), *range(51041, 51115),  # camera raw
}  # fmt: skip
_MAX_BYTES = 2**24
_POINTERS = (13, 18)


def tags_of(page: TiffPage) -> list[Tag]:
    """Tags that say nothing about where and how the pixels lie: what is public, and what a manufacturer added."""
    handle = page.parent.filehandle
    kept: list[Tag] = []
    for tag in page.tags:
        code, kind = int(tag.code), int(tag.dtype)
        ours = code in _KEPT or code in _ANDOR or (code in _PRIVATE and code not in _NOT_KEPT)
        if not ours or kind in _POINTERS or not 0 < tag.valuebytecount <= _MAX_BYTES:
            continue
        handle.seek(tag.valueoffset)
        value = handle.read(tag.valuebytecount)
        if len(value) == tag.valuebytecount and not any(code == known[0] for known in kept):
            kept.append((code, kind, int(tag.count), value, True))
    return kept


def description_of(page: TiffPage) -> bytes | None:
    """The first description as it is stored; None where there is none."""
    tag = page.tags.get(270)
    if tag is None:
        return None
    page.parent.filehandle.seek(tag.valueoffset)
    return page.parent.filehandle.read(tag.valuebytecount).rstrip(b"\0")


def later_words(series: TiffPageSeries, blocks: int) -> Iterator[Words]:
    """Those of each page but the first. The OME-XML of another file of a set is no description of its page."""
    for number in range(1, blocks):
        page = series[number]
        assert page is not None
        with reopened(page):
            whole = page if isinstance(page, TiffPage) else page.aspage()  # a frame knows only the tags of its pixels
            words = None if whole.is_ome else description_of(whole), tags_of(whole)
        yield words
