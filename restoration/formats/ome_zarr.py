"""What an OME-Zarr folder says about itself, in JSON that a stranger may have written: images, axes, sizes, channels.

Source: OME-NGFF 0.4 and 0.5, with the layouts of plates and of bioformats2raw, whose groups are images of their own.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepblur.platform.system.errors import UnreadableImageError
from deepblur.restoration.images.ome_xml import children, parsed
from deepblur.restoration.images.tiff_metadata import Facts, credible, ome_facts

MANY_IMAGES = 100_000
_MAX_JSON_BYTES = 2**26
_METADATA = ("zarr.json", ".zarray", ".zmetadata", ".zgroup", ".zattrs")
_HARMLESS = {
    "bytes", "transpose", "sharding_indexed", "crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3",
    "blosc", "zlib", "gzip", "bz2", "lzma", "zstd", "lz4", "shuffle", "delta", "bitround", "fixedscaleoffset",
    "quantize", "astype", "packbits", "pcodec", "zfpy",
}  # fmt: skip
"""Codecs that turn bytes into numbers. Another one, `pickle`, runs what the file says."""
_UM = {"meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "nanometer": 1e-3, "angstrom": 1e-4}
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6, "minute": 60.0, "hour": 3600.0}
_FIELD = {"x": "pixel_um", "y": "pixel_height_um", "z": "z_um", "t": "interval_s"}


def groups_in(folder: Path) -> list[str]:
    """The images in the folder, by the place of their groups in it; "" where the folder is one image itself.

    Raises:
        UnreadableImageError: a place outside of the folder, or no image at all.
    """
    said = attributes(folder, "")
    if "multiscales" in said:
        return [""]
    if "plate" in said:
        wells = [_inside(well.get("path")) for well in _dicts(_dict(said["plate"]).get("wells"))]
        found = [
            f"{well}/{_inside(field.get('path'))}"
            for well in wells
            for field in _dicts(_dict(attributes(folder, well).get("well")).get("images"))
        ]
    elif "bioformats2raw.layout" in said:
        series = attributes(folder, "OME").get("series")
        found = [_inside(name) for name in series] if isinstance(series, list) else list(_numbered(folder))
    else:
        found = []
    if not 0 < len(found) < MANY_IMAGES:
        raise UnreadableImageError("is a folder of Zarr without an image by OME's rules; name that of an image")
    return found


def attributes(folder: Path, place: str) -> dict[str, Any]:
    """What is written of a group in the folder; of version 0.5 the part that is OME's. Nothing where nothing is.

    Raises:
        UnreadableImageError: a link leads there, or what is written is no JSON.
    """
    group = folder / place
    if os.path.realpath(group) != os.path.join(os.path.realpath(folder), place).rstrip("/"):
        raise UnreadableImageError(f"holds {place!r:.60}, to which a link leads; copy what it leads to there")
    if (group / "zarr.json").is_file():
        said = _dict(_json(group / "zarr.json").get("attributes"))
        return said | _dict(said.get("ome"))
    return _json(group / ".zattrs") if (group / ".zattrs").is_file() else {}


def files_in(folder: Path) -> Iterator[tuple[Path, int]]:
    """All files below, in the order of their names, with their bytes.

    Raises:
        UnreadableImageError: one is a link, which may lead anywhere, or no file.
    """
    for path in sorted(folder.iterdir()):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            yield from files_in(path)
        elif stat.S_ISREG(found.st_mode):
            yield path, found.st_size
        else:
            raise UnreadableImageError(
                f"holds {os.path.relpath(path, folder)!r:.60}, which is a link or no file; copy what it leads to there"
            )


def checked(folder: Path) -> int:
    """Bytes of a folder that may be read.

    Raises:
        UnreadableImageError: links, or values packed by a codec that does more than unpack.
    """
    total = 0
    for path, size in files_in(folder):
        total += size
        if path.name in _METADATA:
            for codec in _codecs(_json(path)):
                if codec.removeprefix("numcodecs.") not in _HARMLESS:
                    raise UnreadableImageError(
                        f"is packed by the codec {codec!r:.40}, which is not undone; save it with another one"
                    )
    return total


def values_in(folder: Path, group: str, said: dict[str, Any]) -> int:
    """How many values an image claims at its finest resolution.

    Raises:
        UnreadableImageError: it says no sizes, or its values lie outside of the folder.
    """
    level = _inside(_dicts(_dicts(said["multiscales"])[0].get("datasets"))[0].get("path"))
    array = folder / group / level
    old = array / ".zarray"
    shape = _json(old if old.is_file() else array / "zarr.json").get("shape")
    if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise UnreadableImageError(f"says no sizes of its image {level!r:.60}; copy it again")
    return math.prod(shape)


def facts_of(multiscales: dict[str, Any], said: dict[str, Any], axes: str, channels: int) -> Facts:
    """Fields of a `Recording` that an image states.

    Args:
        multiscales: its entry.
        said: attributes of its group.
        axes: those that it names.
        channels: how many it has.
    """
    facts: Facts = {}
    with suppress(Exception):  # metadata are a courtesy
        first = _dicts(multiscales.get("datasets"))[0]
        scale = [1.0] * len(axes)
        for level in (multiscales, first):
            for transform in _dicts(level.get("coordinateTransformations")):
                if transform.get("type") == "scale":
                    scale = [a * float(b) for a, b in zip(scale, transform["scale"], strict=True)]
        for axis, one in zip(_dicts(multiscales.get("axes")), scale, strict=True):
            name, unit = str(axis.get("name")).lower(), str(axis.get("unit")).lower()
            per = (_SECONDS if name == "t" else _UM).get(unit)
            if name in _FIELD and per is not None and math.isfinite(one):
                facts[_FIELD[name]] = one * per
    with suppress(Exception):
        names = [str(channel["label"]) for channel in _dicts(_dict(said.get("omero")).get("channels"))]
        facts["channel_names"] = tuple(names) if all(names) else ()
    return credible(facts, channels)


def lens_of(folder: Path, number: int, channels: int) -> Facts:
    """What the OME-XML that bioformats2raw leaves beside its images says of one of them: the lens and the light."""
    with suppress(Exception):
        root = parsed((folder / "OME" / "METADATA.ome.xml").read_text(encoding="utf-8"))
        image = children(root, "Image")[number]
        return credible(ome_facts(root, image, children(image, "Pixels")[0]), channels)
    return {}


def _codecs(value: Any) -> Iterator[str]:
    """Names of all codecs in Zarr's metadata, at any depth, as consolidated metadata and shards have them."""
    if isinstance(value, list):
        for one in value:
            yield from _codecs(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in ("compressor", "filters", "codecs", "index_codecs"):
                for codec in one if isinstance(one, list) else [one]:
                    name = _dict(codec).get("id", _dict(codec).get("name", codec))
                    if name is not None:
                        yield str(name)
            if key != "attributes":
                yield from _codecs(one)


def _json(path: Path) -> dict[str, Any]:
    if path.is_symlink() or path.stat().st_size > _MAX_JSON_BYTES:
        raise UnreadableImageError(f"has {path.name} that is a link, or too long to be metadata; save it again")
    try:
        return _dict(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):
        raise UnreadableImageError(f"has {path.name} that is no JSON; copy it again") from None


def _inside(place: Any) -> str:
    """A place below the folder."""
    parts = str(place).split("/")
    if not isinstance(place, str) or any(part in ("", ".", "..") or set(part) & set("\\\0:") for part in parts):
        raise UnreadableImageError(f"names {place!r:.60} as an image in it, which is no place below it; save it again")
    return place


def _numbered(folder: Path) -> Iterator[str]:
    number = 0
    while (folder / str(number)).is_dir():
        yield str(number)
        number += 1


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
