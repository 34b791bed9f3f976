"""What a PNG says beside its pixels: its header, resolution, colour space, texts, EXIF.

Source: W3C, Portable Network Graphics Specification, third edition.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from deepblur.platform.system.errors import UnreadableImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values per pixel by colour type: grey, RGB, palette, grey + alpha, RGBA."""

_DESCRIPTIVE = (b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"cICP", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"eXIf")
_OF_COLOUR = (b"cHRM", b"iCCP", b"cICP")
_MAX_CHUNK_BYTES = 2**24


class Header(NamedTuple):
    width: int
    height: int
    bits: int
    colour_type: int


def read_header(path: Path) -> Header | None:
    """Of a PNG file, else None."""
    with path.open("rb") as file:
        start = file.read(26)
    if len(start) < 26 or not start.startswith(SIGNATURE) or start[12:16] != b"IHDR":
        return None
    return Header(*struct.unpack(">IIBB", start[16:26]))


def check_reach(path: Path) -> None:
    """Raises UnreadableImageError where a chunk claims to reach beyond the end of a PNG file."""
    size, at = path.stat().st_size, len(SIGNATURE)
    with path.open("rb") as file:
        while at + 12 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            at += 12 + length
            if kind == b"IEND":
                return
    if at > size:
        raise UnreadableImageError(f"is cut short ({size} bytes of at least {at}); copy it again")


def descriptive_chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """Resolution, colour space, texts, EXIF of a PNG file: what stays true when the pixels change."""
    found = []
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                break
            if kind not in _DESCRIPTIVE or length > _MAX_CHUNK_BYTES:
                file.seek(length + 4, 1)
                continue
            data, check = file.read(length), file.read(4)
            if len(check) == 4 and struct.unpack(">I", check)[0] == zlib.crc32(kind + data):
                found.append((kind, data))
    return found


def with_chunks(png: bytes, chunks: list[tuple[bytes, bytes]], file: BinaryIO) -> None:
    """Write a PNG whose own descriptive chunks, if any, are replaced."""
    file.write(png[:33])  # signature and IHDR
    grey = SAMPLES[png[25]] < 3
    for kind, data in chunks:
        if not (grey and kind in _OF_COLOUR):
            file.write(_chunk(kind, data))
    for kind, data in _chunks(png):
        if kind != b"IHDR" and kind not in _DESCRIPTIVE:
            file.write(_chunk(kind, data))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        yield kind, png[at + 8 : at + 8 + length]
        at += 12 + length
