"""Which format an image has, by its first bytes, and the readers of the optional formats, imported when one is met."""

import importlib
import os
import stat
from pathlib import Path
from typing import Any

from deepblur.platform.data.image_file import SUFFIXES
from deepblur.platform.system.errors import UnreadableImageError

IMAGE_SUFFIXES = (*SUFFIXES, ".zarr", ".czi", ".nd2", ".lif", ".dv", ".mrc", ".fits", ".fit", ".fts")
"""Of all images that folders are looked through for; ".zarr" is a folder."""
ZARR = "ome-zarr"
NAMES = {
    ZARR: "OME-Zarr", "czi": "Zeiss CZI", "nd2": "Nikon ND2", "lif": "Leica LIF", "dv": "DeltaVision", "mrc": "MRC",
    "fits": "FITS",
}  # fmt: skip
"""Format → its name as people know it."""

_HEAD_BYTES = 1024
_STARTS = {"czi": b"ZISRAWFILE", "nd2": b"\xda\xce\xbe\x0a", "lif": b"\x70\0\0\0", "fits": b"SIMPLE  ="}
_AT = {"dv": (96, (b"\xa0\xc0", b"\xc0\xa0")), "mrc": (208, (b"MAP ", b"MAP\0"))}
"""Where these formats say what they are."""
_PICTURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF")
_ZARR_FILES = ("zarr.json", ".zgroup", ".zattrs")
"""One of them lies in every group of Zarr: of version 3, and of version 2."""


def kind_of(path: Path) -> str:
    """A format of `NAMES`, or "" for TIFF, pictures and whatever else it is."""
    if os.path.isdir(path):
        return ZARR if any(os.path.isfile(path / name) for name in _ZARR_FILES) else ""
    head = _head_of(path)
    if head.startswith(_PICTURES):
        return ""
    found = [kind for kind, start in _STARTS.items() if head.startswith(start)]
    found += [kind for kind, (at, words) in _AT.items() if head[at:].startswith(words)]
    return found[0] if found else ""


def reader(module: str, kind: str) -> Any:
    """A module of the extra `formats`.

    Raises:
        UnreadableImageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UnreadableImageError(
            f"is {NAMES[kind]}, whose reader is not installed; pip install 'deepblur[formats]'"
        ) from None


def _head_of(path: Path) -> bytes:
    """The first bytes of a file; none of what is no file, or may not be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
