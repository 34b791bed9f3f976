"""Pixels that say nothing of the scene: text burnt in, dead areas, reflections, saturated cells that a user has marked.

They are filled from what surrounds them before anything is read from the image, so that neither their values nor their
edges are taken for the lens's work; the result has what the image has there. Within half a PSF of them the restoration
rests on the filling.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.io import read_recording

MOST = 0.9
"""Of the pixels: where more are masked, too few are left to read a blur from."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Which pixels of every frame and channel say nothing."""

    hidden: np.ndarray
    """(H, W) bool."""
    name: str
    """That of its file, or "the array"."""

    @classmethod
    def of(cls, given: "str | Path | np.ndarray | Mask") -> "Mask":
        """From an image file or an array (H, W); every value but 0 marks a pixel that says nothing. A mask is itself.

        Raises:
            InputError: no readable image, more than one plane or channel, NaN, or more than nine tenths are marked.
        """
        if isinstance(given, Mask):
            return given
        if isinstance(given, str | Path):
            recording, name = read_recording(given, min_side_px=1), Path(given).name
            if recording.length != 1 or recording.channels != 1:
                raise InputError(
                    f"a mask is one grey image; {name} has {recording.length} frames of {recording.channels} channels"
                )
            values = np.asarray(recording.frame(0)[0])
        else:
            values, name = np.asarray(given), "the array"
            if values.ndim != 2 or values.dtype.kind not in "biuf":
                raise InputError(f"a mask is an array (H, W) of numbers; got {values.shape} of {values.dtype}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"the mask {name} has values that are NaN or infinite; write 0 and 1")
        hidden = values != 0
        if hidden.mean() > MOST:
            raise InputError(
                f"the mask {name} marks {100 * hidden.mean():.0f} % of the pixels as saying nothing; what is not 0 is "
                "marked, so swap black and white, or mark less"
            )
        return cls(hidden, name)

    def check(self, size: tuple[int, int]) -> None:
        """Raises InputError where the frames have another size (rows, columns)."""
        if self.hidden.shape != size:
            raise InputError(
                f"the mask {self.name} has {self.hidden.shape[0]}x{self.hidden.shape[1]} pixels and the image "
                f"{size[0]}x{size[1]}; a mask has the size of the image"
            )

    @property
    def digest(self) -> str:
        """BLAKE2b of shape and marks."""
        about = repr(self.hidden.shape).encode()
        return hashlib.blake2b(about + np.packbits(self.hidden).tobytes(), digest_size=16).hexdigest()

    @property
    def words(self) -> str:
        """What was done, for the report."""
        number = int(self.hidden.sum())
        if number == 0:
            return f"the mask {self.name} marks no pixel"
        return (
            f"{number} pixels ({100 * self.hidden.mean():.2g} %) that {self.name} marks said nothing: they were filled "
            "from their surroundings for the restoration, and left as they were in the result"
        )


def mask_of(given: "str | Path | np.ndarray | Mask | None") -> Mask | None:
    """Read once, for all images that it is for; None for none.

    Raises:
        InputError: as `Mask.of`.
    """
    return None if given is None else Mask.of(given)
