"""OME-Zarr as a recording, read chunk by chunk through bioio's reader."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.system.errors import UnreadableImageError
from deepblur.restoration.formats.array_source import ArraySource, Index, array_recording
from deepblur.restoration.formats.kinds import ZARR, reader
from deepblur.restoration.formats.ome_zarr import attributes, checked, facts_of, groups_in, lens_of, values_in
from deepblur.restoration.images.recording import Recording, check_claim


def open_ome_zarr(folder: Path, position: int) -> Recording:
    """One image of the folder at its finest resolution. Raises almost anything on a damaged one."""
    if "::" in str(folder):
        raise UnreadableImageError("has '::' in its name, which its reader takes for two names; rename it")
    stored = checked(folder)
    groups = groups_in(folder)
    group = groups[position]
    module = reader("bioio_ome_zarr", ZARR)
    said = attributes(folder, group)
    check_claim(values_in(folder, group, said), stored)  # the reader makes a plan for every chunk that is claimed
    found = module.Reader(Path(os.path.abspath(folder / group)))
    axes = str(found.dims.order)
    data = found.dask_data
    source = dask_source(data, axes)
    channels = source.shape[axes.index("C")] if "C" in axes else 1
    facts = facts_of(said["multiscales"][0], said, axes, channels)
    if group:
        facts = lens_of(folder, position, channels) | facts
    notes = [f"image {position + 1} of {len(groups)} in the folder: {group}"] if len(groups) > 1 else []
    if len(said["multiscales"]) > 1:
        notes.append(f"the first of {len(said['multiscales'])} multiscale images of its group; the others are left out")
    recording = array_recording(folder, ZARR, source, np.dtype(data.dtype), stored, notes=tuple(notes), **facts)
    return replace(recording, rgb=False)


def dask_source(data: Any, axes: str) -> ArraySource:
    """A source of a dask array, of which each chunk is read when it is needed, in this thread."""

    def read(index: Index) -> np.ndarray:
        return np.asarray(data[index].compute(scheduler="synchronous"))

    return ArraySource(read, axes, tuple(data.shape), np.dtype(data.dtype).itemsize, tuple(data.chunksize))
