"""How much memory frames take: which tiles fit, and which frames go over the disk."""

from dataclasses import replace
from pathlib import Path

import psutil
from torch import Tensor

from deepblur.platform.system.errors import InputError
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.scratch import MEMORY, Scratch
from deepblur.restoration.options import MIN_TILE_PX

MAX_TILE_PX = 1024
_ARRAYS = 12
"""Float32 arrays of a frame's size that are alive together, at most."""


def tile_for(engine: Engine, stack: Tensor, max_memory_gib: float, scratch: Scratch = MEMORY) -> int:
    """The largest useful side of a tile that keeps this process within the memory.

    Of a frame on disk one channel at a time is in memory.

    Raises:
        InputError: even the smallest tile does not fit.
    """
    H, W = stack.shape[-2:]
    held = psutil.Process().memory_info().rss + 4 * (1 if scratch.on_disk else _ARRAYS) * H * W
    room = max_memory_gib * 2**30 - held
    side = int((max(room, 0) / engine.bytes_per_px) ** 0.5)
    if side < MIN_TILE_PX:
        least = (held + engine.bytes_per_px * MIN_TILE_PX**2) / 2**30
        raise InputError(
            f"a frame of {H}x{W} pixels needs {least:.1f} GiB with {engine.name}; --max-memory allows "
            f"{max_memory_gib:g} GiB; allow more, or cut the image"
        )
    return min(side, MAX_TILE_PX)


def with_room(recording: Recording, engine: Engine, max_memory_gib: float, folder: Path) -> Recording:
    """The recording, whose frames go to the disk of `folder` where they do not fit into memory.

    Raises:
        InputError: its file cannot even be read in parts that fit.
    """
    H, W = recording.size
    stored, values = recording.dtype.itemsize * (recording.channels + recording.alpha), 4 * recording.channels
    held, allowed = psutil.Process().memory_info().rss, max_memory_gib * 2**30
    # a frame as stored and to be stored, before and after, of the first frame too, and grey images and their like
    whole = (2 * stored + 4 * values + 4 * _ARRAYS) * H * W + engine.bytes_per_px * MIN_TILE_PX**2
    if held + whole <= allowed:
        return recording
    at_once = recording.source.at_once_bytes()
    if held < allowed < held + at_once:
        raise InputError(
            f"{recording.path}: {H}x{W} pixels that are stored in one piece need {(held + at_once) / 2**30:.1f} GiB; "
            f"--max-memory allows {max_memory_gib:g} GiB; save it as a TIFF with tiles or strips, or allow more"
        )
    return replace(recording, scratch=Scratch(folder), last={})
