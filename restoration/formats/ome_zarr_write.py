"""A restored OME-Zarr: a group of the same version, with what the image's group said, and its finest resolution."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.system.whole_files import replacing_folder
from deepblur.restoration.formats.array_source import ArraySource
from deepblur.restoration.formats.kinds import ZARR, reader
from deepblur.restoration.formats.ome_zarr import groups_in
from deepblur.restoration.images.recording import Recording

_LARGEST_CHUNK_PX = 1024
_OF_SEVERAL = ("plate", "well", "bioformats2raw.layout", "series", "image-label", "labels")


def write_ome_zarr(path: Path, frames: Iterator[np.ndarray], like: Recording, position: int) -> None:
    """See `write_recording`. A chunk holds no more than a plane, packed as the image's; coarser levels are left out."""
    zarr = reader("zarr", ZARR)
    source = like.source
    assert isinstance(source, ArraySource)
    group = os.path.join(os.path.abspath(like.path), groups_in(like.path)[position]).rstrip("/")
    said = zarr.open_group(group, mode="r")
    attributes_of, level = _finest(dict(said.attrs))
    old = said[level]
    version = int(old.metadata.zarr_format)
    chunks = tuple(
        min(size, chunk, _LARGEST_CHUNK_PX) if axis in "YX" else 1
        for axis, size, chunk in zip(like.axes, like.shape, source.pieces, strict=True)
    )
    with replacing_folder(path, math.prod(like.shape) * like.dtype.itemsize // 2) as folder:
        new = zarr.open_group(str(folder), mode="w", zarr_format=version, attributes=attributes_of)
        array = new.create_array(
            level,
            shape=like.shape,
            dtype=like.dtype,
            chunks=chunks,
            compressors=_of_this_version(old.compressors, version),
            chunk_key_encoding={"name": "v2" if version == 2 else "default", "separator": "/"},
            **({"dimension_names": old.metadata.dimension_names} if version == 3 else {}),
        )
        lead = [(axis, size) for axis, size in zip(like.axes, like.shape, strict=True) if axis in "TZ"]
        places = np.ndindex(*(size for _, size in lead))
        for place, frame in zip(places, frames, strict=False):
            where = dict(zip((axis for axis, _ in lead), place, strict=True))
            planes = frame if "C" in like.axes else frame[0]
            left = [axis for axis in like.axes if axis not in "TZ"]
            ordered = np.transpose(planes, [[a for a in "CYX" if a in left].index(axis) for axis in left])
            array[tuple(where.get(axis, slice(None)) for axis in like.axes)] = ordered
            like.scratch.release()
        for _ in frames:  # more than fit are an error of whoever made them
            pass


def _finest(said: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The attributes of a group that has the first image's finest level alone, and that level's name."""
    inner = said.get("ome", said)
    image = dict(inner["multiscales"][0])
    image["datasets"] = image["datasets"][:1]
    kept = {key: value for key, value in inner.items() if key not in _OF_SEVERAL} | {"multiscales": [image]}
    return ({**said, "ome": kept} if "ome" in said else kept), str(image["datasets"][0]["path"])


def _of_this_version(compressors: Any, version: int) -> Any:
    """What packs values, without codecs that only their old places in a file needed."""
    found = [one for one in compressors if "numcodecs.zarr3" not in type(one).__module__]
    return (found[0] if found else None) if version == 2 else found or None
