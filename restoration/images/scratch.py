"""Arrays of a frame: in memory where there is room, else in files without a name, which vanish with the process.

What of a mapped file was touched counts as memory of the process until it is released; the system keeps it as long as
it has room, and it is read again when it is needed.
"""

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepblur.platform.system.disk import full, is_full
from deepblur.platform.system.errors import OutputError

_BAND_VALUES = 2**22


@dataclass(frozen=True)
class Scratch:
    """Makes arrays."""

    folder: Path | None = None
    """Whose disk holds the arrays; None: memory does."""
    _maps: "weakref.WeakSet[mmap.mmap]" = field(default_factory=weakref.WeakSet, repr=False, compare=False)

    @property
    def on_disk(self) -> bool:
        return self.folder is not None

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> np.ndarray:
        """Of any values.

        Raises:
            OutputError: the disk has no room.
        """
        if self.folder is None:
            return np.empty(shape, dtype)
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                # where the disk is full, this says so; writing to the map would end the process
                os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
                array = np.memmap(file, dtype, "r+", shape=shape)
        except OSError as error:
            reason = full(self.folder) if is_full(error) else error.strerror
            raise OutputError(f"{self.folder}: a large frame could not be kept on its disk: {reason}") from error
        self._maps.add(array._mmap)  # type: ignore[attr-defined]
        return array

    def release(self) -> None:
        """What was touched of the arrays no longer counts as memory."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)


MEMORY = Scratch()


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of (..., H, W), a few million values at a time."""
    height = max(1, _BAND_VALUES * shape[-2] // max(1, math.prod(shape)))
    return (slice(row, min(row + height, shape[-2])) for row in range(0, shape[-2], height))
