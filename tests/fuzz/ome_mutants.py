"""OME-TIFF whose XML is well-formed and means something else: the elements and attributes change, not the bytes."""

import io
import random
from collections.abc import Callable
from copy import deepcopy
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import tifffile

SPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
HEIGHT, WIDTH = 32, 40
_UUID = "urn:uuid:11111111-1111-1111-1111-11111111111"
_NUMBERS = (
    "0",
    "1",
    "2",
    "3",
    "7",
    "-1",
    "65536",
    "999999999",
    "2" * 19,
    "9" * 5000,
    "1.5",
    "1e9",
    "nan",
    "",
    " 2",
    "٣",
    "x",
)
_WORDS = (
    "", "Image", "MyImage", "Pixels", "TiffData", "MyTiffData", "UUID", "Channel", "BinaryOnly", "MetadataOnly",
    "BinData", "StructuredAnnotations", "AnnotationRef", "Plane", "OME",
)  # fmt: skip
_ORDERS = ("XYZCT", "XYCZT", "XYTCZ", "XYZZZ", "TZCYX", "YXZCT", "XY", "", "XYZCTS")
_FILES = (
    "",
    ".",
    "..",
    "other.ome.tif",
    "../../etc/passwd",
    "/etc/passwd",
    "a\\b.tif",
    "x" * 300,
    "null\0"[:-1],
    "*.tif",
)
_ATTRIBUTES = (
    "SizeX", "SizeY", "SizeZ", "SizeC", "SizeT", "DimensionOrder", "Type", "IFD", "PlaneCount", "NumPlanes", "FirstZ",
    "FirstC", "FirstT", "SamplesPerPixel", "FileName", "UUID", "ID", "Name", "PhysicalSizeX", "PhysicalSizeY",
    "PhysicalSizeXUnit", "PhysicalSizeZ", "TimeIncrement", "TimeIncrementUnit", "MetadataFile", "Namespace",
)  # fmt: skip
_MODULO = (
    '<StructuredAnnotations xmlns="{s}"><XMLAnnotation ID="Annotation:0" '
    'Namespace="openmicroscopy.org/omero/dimension/modulo">'
    '<Value><Modulo namespace="x"><ModuloAlongT Type="{t}" Start="0" End="{e}" Step="{p}"/></Modulo></Value>'
    "</XMLAnnotation></StructuredAnnotations>"
)


def mutant(rng: random.Random) -> tuple[bytes, str]:
    """A file after one to four changes of its document, and their names."""
    document, pages = _sound(rng)
    names = []
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        change = rng.choice(CHANGES)
        document = change(rng, document)
        names.append(change.__name__)
    text = ElementTree.tostring(document, encoding="unicode")
    if rng.random() < 0.1:
        change_text = rng.choice((_doctype, _prefixed, _commented))
        text = change_text(rng, text)
        names.append(change_text.__name__)
    return _file(rng, text, pages), "+".join(names)


def sound() -> list[bytes]:
    """What is changed, before it is."""
    found = []
    for seed in range(12):
        rng = random.Random(seed)
        document, pages = _sound(rng)
        found.append(_file(random.Random(0), ElementTree.tostring(document, encoding="unicode"), pages))
    return found


def _sound(rng: random.Random) -> tuple[Element, np.ndarray]:
    """A document, and the pages that it describes."""
    t, c, z, samples = rng.choice(((1, 1, 1, 1), (3, 1, 1, 1), (2, 2, 1, 1), (1, 2, 2, 1), (2, 1, 2, 1), (2, 3, 1, 3)))
    planes = t * c * z // samples
    root = Element(f"{{{SPACE}}}OME", {"UUID": f"{_UUID}1"})
    image = _under(root, "Image", ID="Image:0", Name="a")
    pixels = _under(
        image, "Pixels", ID="Pixels:0", DimensionOrder=rng.choice(_ORDERS[:3]), Type="uint8", SizeX=str(WIDTH),
        SizeY=str(HEIGHT), SizeZ=str(z), SizeC=str(c), SizeT=str(t), PhysicalSizeX="0.1", PhysicalSizeXUnit="µm",
    )  # fmt: skip
    for k in range(c // samples):
        _under(pixels, "Channel", ID=f"Channel:0:{k}", Name=f"c{k}", SamplesPerPixel=str(samples))
    if rng.random() < 0.5:
        _under(pixels, "TiffData", IFD="0", PlaneCount=str(planes))
    else:
        axes, sizes = pixels.get("DimensionOrder", "")[2:], {"Z": z, "C": c // samples, "T": t}
        for k in range(planes):
            first, left = {}, k
            for axis in axes:
                first[f"First{axis}"], left = str(left % sizes[axis]), left // sizes[axis]
            place = _under(pixels, "TiffData", IFD=str(k), PlaneCount="1", **first)
            if rng.random() < 0.5:
                _under(place, "UUID", FileName="own.ome.tif").text = f"{_UUID}1"
    _under(pixels, "Plane", TheZ="0", TheC="0", TheT="0", DeltaT="0.5")
    shape = (planes, HEIGHT, WIDTH, 3) if samples == 3 else (planes, HEIGHT, WIDTH)
    return root, np.random.default_rng(0).integers(40, 200, shape, np.uint8)


def _under(parent: Element, tag: str, **attributes: str) -> Element:
    return ElementTree.SubElement(parent, f"{{{SPACE}}}{tag}", attributes)


def _file(rng: random.Random, text: str, pages: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    with tifffile.TiffWriter(buffer, ome=False, shaped=False) as writer:
        settings = {"compression": rng.choice((None, "zlib")), "maxworkers": 1, "metadata": None}
        settings["photometric"] = "rgb" if pages.ndim == 4 else "minisblack"
        writer.write(pages, description=(head + text).encode("utf-8", "replace"), **settings)
    return buffer.getvalue()


def _any(rng: random.Random, root: Element) -> Element:
    return rng.choice(list(root.iter()))


def change_attribute(rng: random.Random, root: Element) -> Element:
    element = rng.choice([e for e in root.iter() if e.attrib] or [root])
    name = rng.choice(list(element.attrib) or ["UUID"])
    element.set(name, _value(rng, name))
    return root


def add_attribute(rng: random.Random, root: Element) -> Element:
    name = rng.choice(_ATTRIBUTES)
    _any(rng, root).set(name, _value(rng, name))
    return root


def _value(rng: random.Random, name: str) -> str:
    if rng.random() < 0.2:
        return rng.choice((*_NUMBERS, *_ORDERS, *_FILES, *_WORDS))
    kinds = {"DimensionOrder": _ORDERS, "FileName": _FILES, "MetadataFile": _FILES}
    kinds["UUID"] = (f"{_UUID}1", f"{_UUID}2", "")
    return rng.choice(kinds.get(name, _NUMBERS))


def drop_attribute(rng: random.Random, root: Element) -> Element:
    element = rng.choice([e for e in root.iter() if e.attrib] or [root])
    if element.attrib:
        del element.attrib[rng.choice(list(element.attrib))]
    return root


def drop_element(rng: random.Random, root: Element) -> Element:
    parent = rng.choice([e for e in root.iter() if len(e)] or [root])
    if len(parent):
        parent.remove(rng.choice(list(parent)))
    return root


def double_element(rng: random.Random, root: Element) -> Element:
    parent = rng.choice([e for e in root.iter() if len(e)] or [root])
    for child in rng.choices(list(parent), k=rng.choice((1, 1, 2, 40))) if len(parent) else ():
        parent.append(deepcopy(child))
    return root


def move_element(rng: random.Random, root: Element) -> Element:
    moved = deepcopy(_any(rng, root))
    _any(rng, root).insert(rng.choice((0, 1, 99)), moved)
    return root


def rename_element(rng: random.Random, root: Element) -> Element:
    element, word = _any(rng, root), rng.choice(_WORDS[1:])
    element.tag = rng.choice((word, f"{{{SPACE}}}{word}", f"{{urn:x}}{word}"))
    return root


def add_element(rng: random.Random, root: Element) -> Element:
    element = _under(_any(rng, root), rng.choice(_WORDS[1:]))
    for name in rng.sample(_ATTRIBUTES, 2):
        element.set(name, _value(rng, name))
    element.text = rng.choice((None, "", f"{_UUID}1", f"{_UUID}2", "text"))
    return root


def name_another_file(rng: random.Random, root: Element) -> Element:
    for place in list(root.iter(f"{{{SPACE}}}TiffData"))[rng.choice((0, 1)) :]:
        _under(place, "UUID", FileName=rng.choice(_FILES)).text = f"{_UUID}{rng.choice('12')}"
    return root


def nest(rng: random.Random, root: Element) -> Element:
    inner = _any(rng, root)
    for _ in range(rng.choice((3, 99, 101, 400))):
        inner = _under(inner, rng.choice(("A", "Image", "Pixels")))
    return root


def modulo(rng: random.Random, root: Element) -> Element:
    numbers = ("0", "1", "3", "-1", "1e-9", "3e8", "nan", "x")
    kinds = ("lifetime", "angle", "phase", "other", "nothing known")
    text = _MODULO.format(s=SPACE, t=rng.choice(kinds), e=rng.choice(numbers), p=rng.choice(numbers))
    root.insert(rng.choice((0, 9)), ElementTree.fromstring(text))
    for image in root.iter(f"{{{SPACE}}}Image"):
        _under(image, "AnnotationRef", ID="Annotation:0")
    return root


CHANGES: tuple[Callable[[random.Random, Element], Element], ...] = (
    change_attribute, change_attribute, change_attribute, add_attribute, drop_attribute, drop_element, double_element,
    move_element, rename_element, add_element, name_another_file, nest, modulo,
)  # fmt: skip


def _doctype(rng: random.Random, text: str) -> str:
    body = "".join(f'<!ENTITY {y} "{f"&{x};" * 12}">' for x, y in zip("abcdefgh", "bcdefghi", strict=True))
    kind = rng.choice((f'<!ENTITY a "{"ha" * 50}">{body}', '<!ENTITY i SYSTEM "file:///etc/passwd">', ""))
    return f"<!DOCTYPE OME [{kind}]>" + text.replace('Name="a"', f'Name="{rng.choice(("&i;", "a"))}"', 1)


def _prefixed(rng: random.Random, text: str) -> str:
    return text.replace("ns0:", rng.choice(("", "OME:", "ns7:")))


def _commented(rng: random.Random, text: str) -> str:
    at = text.find(">") + 1
    return (
        text[:at]
        + rng.choice(("<!-- <Image/> -->", "<?xml-stylesheet href='x'?>", "<![CDATA[<!DOCTYPE]]>", "&amp;"))
        + text[at:]
    )
