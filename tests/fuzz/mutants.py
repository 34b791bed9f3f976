"""Small images of every kind that users have, and ways in which files go wrong."""

import io
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import tifffile
from imagecodecs import png_encode
from PIL import Image

SUFFIXES = (".tif", ".tiff", ".ome.tif", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".lsm", ".gif", ".txt", "")
_NUMBERS = (0, 1, 2, 7, 8, 127, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_CODES = (254, 256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 282, 284, 296, 317, 320, 322, 323, 338, 339)
_TYPES = (*range(14), 16, 18, 99)


def seeds(side: int = 32) -> dict[str, bytes]:
    """Name with suffix → content; `side` x (side + 8) px."""
    rng = np.random.default_rng(0)
    height, width = side, side + 8

    def pixels(dtype: str, *shape: int) -> np.ndarray:
        plain = rng.normal(120, 30, (*shape[: len(shape) - 2], *shape[-2:]))
        return plain.clip(0, 255).astype(dtype)

    def tiff(array: np.ndarray, **settings: object) -> bytes:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, array, maxworkers=1, **settings)  # type: ignore[arg-type]
        return buffer.getvalue()

    def picture(array: np.ndarray, kind: str, mode: str | None = None, **settings: object) -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(array)
        (image.convert(mode) if mode else image).save(buffer, kind, **settings)
        return buffer.getvalue()

    grey, colour = pixels("u1", height, width), pixels("u1", height, width, 3)
    found = {f"{dtype}.tif": tiff(pixels(dtype, height, width)) for dtype in ("u1", "u2", "i4", "f2", "f4", "f8")}
    for compression in ("lzw", "zlib", "packbits", "zstd", "lzma", "jpeg", "jpeg2000"):
        found[f"{compression}.tif"] = tiff(grey, compression=compression)
    black = {"photometric": "minisblack"}
    rgb = {"photometric": "rgb"}
    found |= {
        "big-endian.tif": tiff(pixels("u2", 3, height, width), byteorder=">", **black),
        "predictor.tif": tiff(pixels("u2", height, width), compression="zlib", predictor=True),
        "tiles.tif": tiff(grey, tile=(16, 16), compression="zlib"),
        "bigtiff.tif": tiff(grey, bigtiff=True),
        "imagej.tif": tiff(
            pixels("u2", 2, 2, height, width), imagej=True, metadata={"axes": "ZCYX", "unit": "um", "spacing": 0.3}
        ),
        "imagej-rgb.tif": tiff(pixels("u1", 2, height, width, 3), imagej=True, metadata={"axes": "ZYXS"}),
        "ome.ome.tif": tiff(
            pixels("u1", 2, 2, height, width), ome=True,
            metadata={"axes": "CZYX", "Channel": {"Name": ["a", "b"]}, "PhysicalSizeX": 0.1},
        ),
        "stack.tif": tiff(pixels("u1", 2, height, width), metadata={"axes": "ZYX"}, **black),
        "pages.tif": tiff(pixels("u1", 2, height, width), metadata=None, compression="lzw", **black),
        "rgb.tif": tiff(colour, **rgb),
        "planar.tif": tiff(np.moveaxis(colour, -1, 0), planarconfig="separate", **rgb),
        "rgba.tif": tiff(pixels("u2", height, width, 4), **rgb),
        "white.tif": tiff(grey, photometric="miniswhite"),
        "turned.tif": tiff(grey, extratags=[(274, "H", 1, 6, True)]),
        "palette.tif": tiff(grey, photometric="palette", colormap=rng.integers(0, 65535, (3, 256)).astype("u2")),
        "bool.tif": tiff(grey > 100),
        "12-bit.tif": tiff(pixels("u2", height, width), bitspersample=12),
        "cmyk.tif": picture(colour, "TIFF", "CMYK"),
        "grey.png": picture(grey, "PNG", dpi=(300, 300)),
        "rgb.png": picture(colour, "PNG"),
        "la.png": picture(pixels("u1", height, width, 2), "PNG"),
        "rgba.png": picture(pixels("u1", height, width, 4), "PNG"),
        "palette.png": picture(colour, "PNG", "P", transparency=3),
        "bool.png": picture(grey > 100, "PNG"),
        "u2.png": png_encode(pixels("u2", height, width, 1)),
        "u2-rgb.png": png_encode(pixels("u2", height, width, 3)),
        "u2-rgba.png": png_encode(pixels("u2", height, width, 4)),
        "grey.jpg": picture(grey, "JPEG"),
        "rgb.jpg": picture(colour, "JPEG", comment=b"hello"),
        "progressive.jpg": picture(colour, "JPEG", progressive=True),
        "cmyk.jpg": picture(colour, "JPEG", "CMYK"),
        "grey.bmp": picture(grey, "BMP"),
        "rgb.bmp": picture(colour, "BMP"),
        "lossy.webp": picture(colour, "WEBP"),
        "lossless.webp": picture(colour, "WEBP", lossless=True),
    }  # fmt: skip
    return found


def mutant(rng: random.Random, files: list[bytes]) -> tuple[bytes, str]:
    """One of the files after up to four accidents, and their names."""
    data, names = bytearray(rng.choice(files)), []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        change = rng.choice(CHANGES)
        change(rng, data, files)
        names.append(change.__name__)
    return bytes(data), "+".join(names)


def flip_bits(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    for _ in range(rng.choice((1, 2, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_early_bits(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        if data:
            data[rng.randrange(min(len(data), 300))] = rng.randrange(256)


def cut_end(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def cut_middle(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 2, 4, 100))]


def insert_noise(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 100)))


def splice(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    other = rng.choice(files)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other)) :]


def write_number(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    size, order = rng.choice((2, 4, 8)), rng.choice("<>")
    if len(data) >= size:
        at = rng.randrange(len(data) - size + 1)
        number = rng.choice(_NUMBERS) % 2 ** (8 * size)
        data[at : at + size] = struct.pack(order + {2: "H", 4: "I", 8: "Q"}[size], number)


def only_noise(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    keep = rng.choice((0, 4, 8, 26))
    data[keep:] = rng.randbytes(rng.choice((0, 1, 30, 1000)))


def change_text(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Another number in ImageJ's, OME's or tifffile's words; the length stays."""
    places = [k for k, byte in enumerate(data) if 48 <= byte <= 57 and 32 <= data[k - 1] < 127]
    if places:
        at = rng.choice(places)
        text = rng.choice((b"9", b"99999999", b"-1", b"0", b"1e9", b"nan", b'"', b"<"))
        data[at : at + len(text)] = text


def change_tag(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Another code, type, count or value in the first directory of a TIFF."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
    if order is None or len(data) < 8:
        return write_number(rng, data, files)
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        return None
    (count,) = struct.unpack_from(order + "H", data, start)
    at = start + 2 + 12 * rng.randrange(max(1, count))
    if at + 12 > len(data):
        return None
    part = rng.choice(("code", "type", "count", "value", "value", "value", "short"))
    number = rng.choice((*_NUMBERS, rng.randrange(2**32)))
    if part == "code":
        struct.pack_into(order + "H", data, at, rng.choice(_CODES))
    elif part == "type":
        struct.pack_into(order + "H", data, at + 2, rng.choice(_TYPES))
    elif part == "count":
        struct.pack_into(order + "I", data, at + 4, number)
    elif part == "value":
        struct.pack_into(order + "I", data, at + 8, number)
    else:
        struct.pack_into(order + "H", data, at + 8, number % 65536)
    return None


def change_chunk(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    """Another header in a PNG, with the checksum that belongs to it."""
    if not data.startswith(b"\x89PNG") or len(data) < 33:
        return flip_early_bits(rng, data, files)
    at = rng.choice((16, 20, 24, 25, 26, 27, 28))
    if at < 24:
        struct.pack_into(">I", data, at, rng.choice(_NUMBERS))
    else:
        data[at] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return None


CHANGES: tuple[Callable[[random.Random, bytearray, list[bytes]], None], ...] = (
    flip_bits, flip_early_bits, cut_end, cut_middle, insert_noise, splice, write_number, only_noise, change_text,
    change_tag, change_tag, change_tag, change_chunk,
)  # fmt: skip
