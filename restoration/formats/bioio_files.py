"""Microscopes' own files, plane by plane through bioio's readers."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.system.errors import UnreadableImageError
from deepblur.restoration.formats.array_source import ArraySource, Index, array_recording
from deepblur.restoration.formats.czi import czi_facts, scenes_stored
from deepblur.restoration.formats.kinds import reader
from deepblur.restoration.formats.lif import lif_facts
from deepblur.restoration.formats.mrc import dv_facts
from deepblur.restoration.images.ome_xml import children, parsed
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.tiff_metadata import Facts, credible, ome_facts

_MODULES = {"czi": "bioio_czi", "nd2": "bioio_nd2", "lif": "bioio_lif", "dv": "bioio_dv"}
_BY_PLANES = ("czi", "nd2")
"""Formats whose reader reads single planes when it is asked for them; the others' arrays of dask do."""
_ORDER = "TZCYXS"
"""In which frames are numbered, and written."""


def open_bioio(path: Path, kind: str, position: int) -> Recording:
    """One image of the file. Raises almost anything on a damaged one."""
    opened = _opened(path, kind)
    scenes = opened.scenes
    opened.set_scene(position)
    order, shape = str(opened.dims.order), tuple(opened.dims.shape)
    mosaic = opened.mosaic_xarray_dask_data if dict(zip(order, shape, strict=True)).get("M", 1) > 1 else None
    if mosaic is not None:
        order, shape = "".join(map(str, mosaic.dims)), tuple(mosaic.shape)
    sizes = dict(zip(order, shape, strict=True))
    unknown = {axis: size for axis, size in sizes.items() if axis not in _ORDER and size > 1}
    if unknown:
        said = ", ".join(f"{size} of {axis}" for axis, size in unknown.items())
        raise UnreadableImageError(f"has further axes ({said}) beside T, Z, C, Y and X; save one part of it")
    axes = "".join(axis for axis in _ORDER if sizes.get(axis, 1) > 1 or axis in "YX")
    shape = tuple(sizes[axis] for axis in axes)

    def read(index: Index) -> np.ndarray:
        at = dict(zip(axes, index, strict=True))
        if mosaic is not None:
            part = mosaic.data[tuple(at.get(axis, 0) for axis in order)].compute(scheduler="synchronous")
            left = [axis for axis in order if not isinstance(at.get(axis, 0), int)]
            return np.transpose(part, [left.index(axis) for axis in axes if axis in left])
        wanted = "".join(axis for axis in axes if not isinstance(at[axis], int))
        at = {axis: one for axis, one in at.items() if one != slice(None)}
        if kind in _BY_PLANES:
            return np.asarray(opened.get_image_data(wanted, **at))
        return np.asarray(opened.get_image_dask_data(wanted, **at).compute(scheduler="synchronous"))

    dtype = np.dtype(opened.dtype)
    if kind in _BY_PLANES and mosaic is None:
        pieces = {axis: sizes[axis] for axis in axes if axis in "YXS"}
    else:
        data = mosaic.data if mosaic is not None else opened.dask_data
        pieces = dict(zip(order, data.chunksize, strict=True))
    source = ArraySource(read, axes, shape, dtype.itemsize, tuple(pieces.get(axis, 1) for axis in axes))
    facts = _facts(opened, path, kind, position, sizes.get("C", 1) * sizes.get("S", 1))
    notes = (f"image {position + 1} of {len(scenes)} in the file: {scenes[position]}",) if len(scenes) > 1 else ()
    return array_recording(path, kind, source, dtype, path.stat().st_size, notes=notes, **facts)


def _facts(opened: Any, path: Path, kind: str, position: int, channels: int) -> Facts:
    if kind == "czi":
        return czi_facts(opened.metadata, channels)
    if kind == "lif":
        return lif_facts(opened, position, channels)
    if kind == "dv":
        return dv_facts(path, channels)
    facts: Facts = {}
    with suppress(Exception):  # metadata are a courtesy
        root = parsed(opened.ome_metadata.to_xml())
        images = children(root, "Image")
        image = images[position if len(images) > 1 else 0]
        facts = ome_facts(root, image, children(image, "Pixels")[0])
    return credible(facts, channels)


def scenes_of(path: Path, kind: str) -> int:
    """How many images of their own the file holds.

    Raises:
        UnreadableImageError: its reader does not know them all.
    """
    known = len(_opened(path, kind).scenes)
    stored = scenes_stored(path) if kind == "czi" else known
    if stored != known:
        raise UnreadableImageError(
            f"holds {stored} scenes, but its metadata names {known}; save each as a file of its own"
        )
    return known


def _opened(path: Path, kind: str) -> Any:
    if "::" in str(path):
        raise UnreadableImageError("has '::' in its name, which its reader takes for two names; rename it")
    module = reader(_MODULES[kind], kind)
    return module.Reader(os.path.abspath(path))
