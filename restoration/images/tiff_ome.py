"""The image of an OME-TIFF, which may be spread over a set of files: read whole, from its first file, or refused.

tifffile reads such sets too, but fills what is missing with zeros and opens whatever the XML names.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tifffile import TiffFile, TiffFileError, TiffFrame, TiffPage, TiffPageSeries

from deepblur.platform.data.image_file import check_pixels, check_plain
from deepblur.platform.system.errors import PartOfSetError, UnreadableImageError
from deepblur.restoration.images.library_warnings import silent
from deepblur.restoration.images.ome_xml import Image, children, images_of, parsed, plain_name, plane_places
from deepblur.restoration.images.tiff_claims import count_pages

_MAX_COMPANION_BYTES = 2**27
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Ome:
    """An image with its planes, and the document that describes it."""

    series: TiffPageSeries
    root: Element
    image: Image
    files: tuple[TiffFile, ...]
    """All that hold planes, the one that was opened first."""
    notes: tuple[str, ...]


def open_ome(tiff: TiffFile, position: int | None = None) -> Ome | None:
    """The image of which planes are in `tiff`; None where its OME-XML names none or is no XML.

    Args:
        position: which of several images; None: the only one.
    Raises:
        UnreadableImageError: several images where one was meant, planes that are nowhere, a file of the set that is
            missing, damaged or another one.
        PartOfSetError: the set begins with another file.
    """
    path = Path(tiff.filehandle.path)
    document = _document(tiff, path)
    if document is None:
        return None
    images = _images_in(tiff, images_of(document, path.name))
    if not images:
        return None
    if position is None and len(images) > 1:
        sizes = ", ".join("x".join(map(str, (*image.shape, *image.size))) for image in images[:4])
        raise UnreadableImageError(
            f"holds {len(images)} images ({sizes}, …); save the one that is meant as a file of its own"
        )
    image = images[position or 0]
    first = min(image.places, key=lambda place: place.plane).file
    if first:
        whole = _member(path, first)
        raise PartOfSetError(
            f"{path}: is a part of the set that begins with {first}; name that file: the set is read whole",
            whole,
        )
    opened: list[TiffFile] = []
    try:
        files = {"": tiff}
        for name in image.files:
            if name:
                files[name] = _sibling(path, name, document, image)
                opened.append(files[name])
        pages = {name: _pages_of(file, name) for name, file in files.items()}
        stored = sum(file.filehandle.size for file in files.values())
        series = _series(image, plane_places(image, pages, stored), files)
    except BaseException:
        for file in opened:
            file.close()
        raise
    for file in opened:  # a set may have more files than a process may open; tifffile opens each again when it reads
        file.close()
    named = sum(other.planes for other in images)
    return Ome(series, document, image, tuple(files.values()), tuple(_notes(image, opened, pages, named)))


def images_in(path: Path) -> int:
    """How many images of their own an OME-TIFF holds, as positions of a stage; 1 where it is none, or is refused."""
    with suppress(Exception):
        check_plain(path)  # which a pipe is not, that nobody may ever write to
        with _described(path) as (tiff, images):
            return max(1, len(_images_in(tiff, images)))
    return 1


def other_files(path: Path) -> list[Path]:
    """The other files of the set that is read from `path`; none where that is no set, or one that is refused."""
    with suppress(Exception), _described(path) as (_, images):
        names = {name for image in images for name in image.files if plain_name(name)}
        return [path.parent / name for name in sorted(names) if (path.parent / name).is_file()]
    return []


@contextmanager
def _described(path: Path) -> Iterator[tuple[TiffFile, list[Image]]]:
    """The file, open, and the images that its OME-XML names."""
    with silent(), TiffFile(path, _multifile=False, is_ome=False) as tiff:
        document = _document(tiff, path) if tiff.pages.first.is_ome else None
        yield tiff, [] if document is None else images_of(document, path.name)


def _document(tiff: TiffFile, path: Path) -> Element | None:
    """The OME-XML of the file, or that of the file which it names for it."""
    try:
        root = parsed(tiff.pages.first.description)
        companion = children(root, "BinaryOnly")
        if not companion:
            return root
        name = companion[0].get("MetadataFile", "")
        document = parsed(_text_of(_member(path, name)))
    except ElementTree.ParseError:
        return None
    own = root.get("UUID")
    if own is not None:
        document.set("UUID", own)
    else:
        document.attrib.pop("UUID", None)
    return document


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
        if start not in _TIFF_MAGIC:
            text = start + file.read(_MAX_COMPANION_BYTES)
            return text.decode("utf-8", "replace")
    with TiffFile(path, _multifile=False) as tiff:
        return tiff.pages.first.description


def _member(path: Path, name: str) -> Path:
    """A file of the same set; raises UnreadableImageError where it is elsewhere or not there."""
    if not plain_name(name):
        raise UnreadableImageError(f"names {name!r:.60} as a part of it, which is no file of its folder; save it again")
    member = path.parent / name
    if not member.is_file():
        raise UnreadableImageError(
            f"is a set of files of which {name} is not in its folder; put the whole set there, under its own names"
        )
    return member


def _sibling(path: Path, name: str, document: Element, image: Image) -> TiffFile:
    """Another file of the set, open."""
    named = {
        (uuid.text or "").strip()
        for data in children(image.pixels, "TiffData")
        for uuid in children(data, "UUID")
        if uuid.get("FileName") == name
    }
    member = _member(path, name)
    try:
        tiff = TiffFile(member, _multifile=False)
    except (TiffFileError, OSError, ValueError, ArithmeticError) as error:
        raise UnreadableImageError(f"is a set of files of which {name} is no TIFF ({error}); copy it again") from None
    with suppress(ElementTree.ParseError):
        own = parsed(tiff.pages.first.description).get("UUID") if tiff.pages and tiff.pages.first.is_ome else None
        if own is not None and named and own not in named:
            tiff.close()
            raise UnreadableImageError(
                f"is a set of files of which {name} is another file (its UUID is {own:.60}); put the whole set into "
                "one folder"
            )
    return tiff


def _pages_of(tiff: TiffFile, name: str) -> int:
    try:
        return count_pages(tiff)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"is a set of files of which {name} {error}" if name else str(error)) from None


def _images_in(tiff: TiffFile, images: list[Image]) -> list[Image]:
    """Those with planes in this file, without thumbnails."""
    here = [image for image in images if "" in image.files]
    if images and not here:
        raise UnreadableImageError("holds none of the planes that its OME-XML names; name the file that holds them")
    return [image for image in here if len(here) == 1 or not _is_thumbnail(tiff, image)]


def _is_thumbnail(tiff: TiffFile, image: Image) -> bool:
    page = tiff.pages.get(next(place.ifd for place in image.places if not place.file), tiff.pages.first)
    return isinstance(page, TiffPage) and page.is_reduced


def _series(image: Image, places: list[tuple[str, int]], files: dict[str, TiffFile]) -> TiffPageSeries:
    pages: list[TiffPage | TiffFrame] = []
    keys: dict[str, TiffPage] = {}
    for name, index in places:
        held = files[name].pages
        if name not in keys:
            held.useframes = True
            held.set_keyframe(index)
            assert held.keyframe is not None
            keys[name] = held.keyframe
            _check_alike(held.keyframe, keys[places[0][0]], image)
            pages.append(held.keyframe)
        else:
            pages.append(held.get(index, aspage=False))
    key = keys[places[0][0]]
    shape, axes = (*image.shape, *key.shape), image.axes + key.axes
    return TiffPageSeries(
        pages, shape, key.dtype, axes, parent=files[""], name=image.element.get("Name"), kind="ome",
        multifile=len(keys) > 1,
    )  # fmt: skip


def _check_alike(page: TiffPage, key: TiffPage, image: Image) -> None:
    """Raises UnreadableImageError for pages unlike the XML, or unlike the first."""
    check_pixels(page.imagelength, page.imagewidth)
    stated = (*image.size, image.samples)
    held = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if stated != held or page.imagedepth != 1:
        raise UnreadableImageError(
            f"names planes of {_times(stated)} in its OME-XML, but its pages hold {_times(held)}; save it again"
        )
    if (page.dtype, page.shape, page.axes) != (key.dtype, key.shape, key.axes):
        raise UnreadableImageError(
            f"is a set of files of which one holds {page.dtype} {page.shape} and another {key.dtype} {key.shape}; save "
            "it as one file"
        )


def _times(sizes: tuple[int, ...]) -> str:
    height, width, samples = sizes
    return f"{height}x{width}" + (f"x{samples}" if samples > 1 else "")


def _notes(image: Image, opened: list[TiffFile], pages: dict[str, int], named: int) -> Iterator[str]:
    """
    Args:
        named: planes of all images in the file.
    """
    if opened:
        yield f"one set with {', '.join(file.filename for file in opened[:5])}" + (" …" if len(opened) > 5 else "")
    left = sum(pages.values()) - named
    if left > 0:
        yield f"{left} of {sum(pages.values())} pages are no planes of this image by its OME-XML and are left out"
