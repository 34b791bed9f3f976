"""OME-XML as a stranger may have written it: read within bounds, and what it says about the places of the planes.

Source: the OME model of 2016-06; TiffData with its defaults as there and as tifffile reads it.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import PurePath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

from deepblur.platform.system.errors import UnreadableImageError

MAX_ELEMENTS = 2**20
_MAX_DEPTH = 100
_MAX_DIGITS = 18
_ADVICE = "save it again as OME-TIFF"


@dataclass(frozen=True)
class TiffData:
    """`count` planes from number `plane` on lie in pages `ifd` … of a file; count None: in all its pages."""

    plane: int
    ifd: int
    count: int | None
    file: str
    """"" is the file that holds the XML, or that names it as its metadata."""


@dataclass(frozen=True)
class Image:
    """One Image element and where it says that its planes are."""

    element: Element
    pixels: Element
    axes: str
    """Of Z, C and T, the slowest first."""
    shape: tuple[int, ...]
    """Along `axes`; a channel may have several samples."""
    samples: int
    size: tuple[int, int]
    """(rows, columns)."""
    places: tuple[TiffData, ...]

    @property
    def planes(self) -> int:
        return math.prod(self.shape)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place.file for place in self.places))


def parsed(text: str) -> Element:
    """The document.

    Raises:
        ElementTree.ParseError: it is no XML.
        UnreadableImageError: a document type, or more and deeper elements than any microscope writes.
    """
    _check_bounds(text)
    return ElementTree.fromstring(text)


def name_of(element: Element) -> str:
    """The tag without its namespace; "" for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def children(element: Element, name: str) -> list[Element]:
    return [child for child in element if name_of(child) == name]


def images_of(root: Element, own_name: str) -> list[Image]:
    """The images that have planes; `own_name` is that of the file that holds the XML.

    Raises:
        UnreadableImageError: a number, an order or a place that makes no sense.
    """
    own_uuid = root.get("UUID")
    found = []
    for element in children(root, "Image"):
        for pixels in children(element, "Pixels"):
            if not children(pixels, "MetadataOnly") and not children(pixels, "BinData"):
                found.append(_image(element, pixels, own_uuid, own_name))
    named = {name for image in found for name in image.files}
    if own_uuid is None and len(named) == 1 and "" not in named:
        # nothing but the name says which file is meant, and this one has another: somebody renamed it
        found = [_image(image.element, image.pixels, None, *named) for image in found]
    return found


def _image(element: Element, pixels: Element, own_uuid: str | None, own_name: str) -> Image:
    order = pixels.get("DimensionOrder", "XYZCT")
    if order[:2] != "XY" or sorted(order[2:]) != ["C", "T", "Z"]:
        raise UnreadableImageError(f"says DimensionOrder={order!r:.30} in its OME-XML, which is no order; {_ADVICE}")
    axes = order[:1:-1]
    samples = [_number(channel, "SamplesPerPixel", 1) for channel in children(pixels, "Channel")] or [1]
    if len(set(samples)) > 1:
        raise UnreadableImageError(f"has channels of {sorted(set(samples))} samples in one image; {_ADVICE}")
    sizes = {axis: _number(pixels, f"Size{axis}", 1) for axis in "XYZCT"}
    sizes["C"] //= max(samples[0], 1)
    shape = tuple(sizes[axis] for axis in axes)
    if min(*shape, samples[0]) < 1:
        raise UnreadableImageError(f"has no plane by its OME-XML ({axes} of {shape}); {_ADVICE}")
    stated = children(pixels, "TiffData")
    placed = (_place(data, axes, shape, own_uuid, own_name) for data in stated)
    places = tuple(place for place in placed if place is not None)
    return Image(
        element=element,
        pixels=pixels,
        axes=axes,
        shape=shape,
        samples=samples[0],
        size=(sizes["Y"], sizes["X"]),
        places=places if stated else (TiffData(0, 0, None, ""),),
    )


def _place(data: Element, axes: str, shape: tuple[int, ...], own_uuid: str | None, own_name: str) -> TiffData | None:
    """None for planes beyond the sizes, as ImageJ leaves them when it crops."""
    plane = 0
    for axis, size in zip(axes, shape, strict=True):
        first = _number(data, f"First{axis}", 0)
        if first >= size:
            return None
        plane = plane * size + first
    ifd = data.get("IFD")
    count = _number(data, "NumPlanes", -1 if ifd is None else 1)
    count = _number(data, "PlaneCount", count)
    file = ""
    for uuid in children(data, "UUID")[:1]:
        identifier, name = (uuid.text or "").strip(), uuid.get("FileName", "")
        own = (own_uuid is not None and identifier == own_uuid) or name.lower() == own_name.lower()
        file = "" if own else name or identifier
    return TiffData(plane, _number(data, "IFD", 0), None if count < 1 else count, file)


def plane_places(image: Image, pages: dict[str, int], stored_bytes: int) -> list[tuple[str, int]]:
    """(file, page) of every plane, in the order of the axes.

    Args:
        pages: how many each file has.
        stored_bytes: of all files.
    Raises:
        UnreadableImageError: planes that are in none of the pages.
    """
    total = sum(pages[name] for name in image.files)
    if image.planes > stored_bytes // 8:  # no page is smaller than its directory
        raise UnreadableImageError(f"names {image.planes} planes, more than fit in the file; save it again")
    if image.planes > total:
        raise UnreadableImageError(f"is cut short ({total} pages for {image.planes} planes); copy it again")
    found: list[tuple[str, int] | None] = [None] * image.planes
    steps = 0
    for data in image.places:
        count = min(pages[data.file] - data.ifd if data.count is None else data.count, image.planes - data.plane)
        steps += count
        if data.ifd + count > pages[data.file]:
            raise UnreadableImageError(
                f"is cut short ({pages[data.file]} pages of at least {data.ifd + count}); copy it again"
            )
        if steps > 2 * image.planes + len(image.places):
            raise UnreadableImageError(f"names its planes several times in its OME-XML; {_ADVICE}")
        for k in range(count):
            found[data.plane + k] = data.file, data.ifd + k
    lacking = found.count(None)
    if lacking:
        raise UnreadableImageError(
            f"is cut short ({image.planes - lacking} planes of {image.planes} that its OME-XML names); copy it again"
        )
    return [place for place in found if place is not None]


def own_text(root: Element, image: Image, fastest_first: str, blocks: int, uuid: str | None) -> bytes:
    """The XML of a file that holds this image alone, its planes in a row.

    Args:
        root: the document that the image is in; it is changed.
        fastest_first: the axes in the order in which the planes are written.
        uuid: of the new file.
    """
    space = root.tag.partition("}")[0].lstrip("{") if root.tag.startswith("{") else ""
    if space:
        ElementTree.register_namespace("", space)
    ElementTree.register_namespace("xsi", "http://www.w3.org/2001/XMLSchema-instance")
    pixels = image.pixels
    order = pixels.get("DimensionOrder", "XYZCT")
    if fastest_first != "".join(axis for axis in order if axis in fastest_first):
        pixels.set("DimensionOrder", "XY" + fastest_first + "".join(a for a in "CZT" if a not in fastest_first))
    for other in children(root, "Image"):
        if other is not image.element:
            root.remove(other)
    for other in children(image.element, "Pixels"):
        if other is not pixels:
            image.element.remove(other)
    places = children(pixels, "TiffData")
    before = [child for child in pixels if name_of(child) in ("Channel", "TiffData")]
    where = list(pixels).index(places[0]) if places else list(pixels).index(before[-1]) + 1 if before else 0
    for place in places:
        pixels.remove(place)
    tag = f"{{{space}}}TiffData" if space else "TiffData"
    place = Element(tag, {"IFD": "0", "PlaneCount": str(blocks)})
    place.tail = places[-1].tail if places else None
    pixels.insert(where, place)
    if uuid is not None:
        root.set("UUID", uuid)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def plain_name(name: str) -> bool:
    """Whether it names a file of the same folder."""
    return name not in ("", ".", "..") and PurePath(name).name == name and not set(name) & set("\\\0")


def _number(element: Element, name: str, default: int) -> int:
    text = element.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise UnreadableImageError(f"says {name}={text!r:.40} in its OME-XML, which is no count; {_ADVICE}")
    return int(text)


def _check_bounds(text: str) -> None:
    """Raises UnreadableImageError before a hostile document costs memory."""
    if "<!DOCTYPE" in text:
        raise UnreadableImageError(f"has OME-XML with a document type, which it never needs; {_ADVICE}")
    depth, elements = 0, itertools.count(1)

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH or next(elements) > MAX_ELEMENTS:
            raise UnreadableImageError(
                f"has OME-XML of more than {_MAX_DEPTH} levels or {MAX_ELEMENTS} elements; {_ADVICE}"
            )

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise ElementTree.ParseError(str(error)) from None
