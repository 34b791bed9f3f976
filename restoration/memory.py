"""How much memory frames take: which tiles fit, and which frames go over the disk."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from deepblur.platform.system.errors import InputError
from deepblur.platform.system.memory import held_bytes
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.scratch import MEMORY, Scratch
from deepblur.restoration.options import MIN_TILE_PX, Options
from deepblur.restoration.tiles import framed_side

MAX_TILE_PX = 1024
_ARRAYS = 12
"""Float32 arrays of a frame's size that are alive together, at most."""


_WORKER_GIB = 0.75
"""What a process of its own needs at the least: torch, a network, a small image."""


class ShareError(InputError):
    """A file that would be cut otherwise in a share of the memory than in all of it: its turn comes when it has all."""


def share_of(options: Options, workers: int) -> Options:
    """Those of one of several processes that share the memory with this one, which hands out the work."""
    share = (options.max_memory_gib - held_bytes() / 2**30) / workers
    return replace(options, max_memory_gib=max(share, 1e-3), shared=True)


def workers_that_fit(options: Options) -> int:
    """How many processes beside this one the memory has room for; 1 where none: this one does the work then."""
    return max(1, int((options.max_memory_gib - held_bytes() / 2**30) / _WORKER_GIB))


def tile_for(engine: Engine, stack: Tensor, options: Options, scratch: Scratch = MEMORY) -> int:
    """The largest useful side of a tile that keeps this process within the memory.

    Of a frame on disk one channel at a time is in memory.

    Raises:
        InputError: even the smallest tile does not fit.
        ShareError: a share of the memory, not its lack, would decide about the tiles.
    """
    H, W = stack.shape[-2:]
    max_memory_gib = options.max_memory_gib
    held = held_bytes() + 4 * (1 if scratch.on_disk else _ARRAYS) * H * W
    room = max_memory_gib * 2**30 - held
    side = int((max(room, 0) / engine.bytes_per_px) ** 0.5)
    if options.shared and side < min(MAX_TILE_PX, framed_side(max(H, W), engine.psf_size)):
        raise ShareError(f"a frame of {H}x{W} pixels needs more than a share of {max_memory_gib:.1f} GiB")
    if side < MIN_TILE_PX:
        least = (held + engine.bytes_per_px * MIN_TILE_PX**2) / 2**30
        raise InputError(
            f"a frame of {H}x{W} pixels needs {least:.1f} GiB with {engine.name}; --max-memory allows "
            f"{max_memory_gib:g} GiB; allow more, or cut the image"
        )
    return min(side, MAX_TILE_PX)


def with_room(recording: Recording, engine: Engine, options: Options, folder: Path) -> Recording:
    """The recording, whose frames go to the disk of `folder` where they do not fit into memory.

    Raises:
        InputError: its file cannot even be read in parts that fit.
        ShareError: it does not fit into a share of the memory.
    """
    max_memory_gib = options.max_memory_gib
    H, W = recording.size
    stored, values = recording.dtype.itemsize * (recording.channels + recording.alpha), 4 * recording.channels
    held, allowed = held_bytes(), max_memory_gib * 2**30
    # a frame as stored and to be stored, before and after, of the first frame too, and grey images and their like
    whole = (2 * stored + 4 * values + 4 * _ARRAYS) * H * W + engine.bytes_per_px * MIN_TILE_PX**2
    if held + whole <= allowed:
        return recording
    if options.shared:
        raise ShareError(f"{recording.path}: {H}x{W} pixels need more than a share of {max_memory_gib:.1f} GiB")
    at_once = recording.source.at_once_bytes()
    if held < allowed < held + at_once:
        raise InputError(
            f"{recording.path}: {H}x{W} pixels that are stored in one piece need {(held + at_once) / 2**30:.1f} GiB; "
            f"--max-memory allows {max_memory_gib:g} GiB; save it as a TIFF with tiles or strips, or allow more"
        )
    return replace(recording, scratch=Scratch(folder), last={})
