"""How the channels of a frame belong together: one PSF for all, read from their grey image, or one each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepblur.baselines import reblur
from deepblur.platform.data.image_file import LUMA
from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.recording import Recording


@dataclass(frozen=True)
class Channels:
    """How the channels of a recording belong together."""

    shared: bool = True
    """All have the PSF of their luminance."""
    colour: bool = False
    """They are red, green and blue: luminance is not their mean."""
    names: tuple[str, ...] = ()
    """As the file names them; none where it names none."""

    def groups(self, count: int) -> list[tuple[str, list[int]]]:
        """(name, members) for every PSF of `count` channels."""
        everyone = list(range(count))
        if self.shared or count == 1:
            return [("", everyone)]
        return list(zip(self.names or [f"channel {i}" for i in everyone], ([i] for i in everyone), strict=True))


def channels_of(recording: Recording, asked: str = "auto", each: tuple[str, int] = ("--cutoff", 0)) -> Channels:
    """Those of a recording: "auto" shares the PSF among colours, not among a microscope's channels.

    Args:
        asked: auto, shared or each.
        each: the option that says the optics of each channel, and for how many; 0 where they have one or none.
    Raises:
        ValueError: the channels share a PSF but not their optics.
        InputError: the recording has another number of channels.
    """
    option, count = each
    if count and asked == "shared":
        raise ValueError(f"channels that share a PSF have one cutoff; got {count}; leave out --channels shared")
    if count and count != recording.channels:
        raise InputError(
            f"{recording.path}: has {recording.channels} channels, but {option} says {count} numbers; say one for each "
            "channel, or one for all"
        )
    shared = asked == "shared" or (asked == "auto" and recording.rgb and not count)
    return Channels(shared, recording.rgb, recording.channel_names)


def grey_image(images: Sequence[Tensor], colour: bool) -> Tensor:
    """What a shared blur is read from, of channels (H, W): luminance of colours, or the mean; one is not copied."""
    if len(images) == 1:
        return images[0]
    weights = LUMA if colour else (1 / len(images),) * len(images)
    grey = torch.zeros_like(images[0])
    for weight, image in zip(weights, images, strict=True):
        grey.add_(image, alpha=weight)  # one by one: they may lie on disk
    return grey


def residual_image(before: np.ndarray, after: np.ndarray, psf: Tensor, colour: bool) -> np.ndarray:
    """(H, W) float32: the grey image minus the restored one blurred again.

    Args:
        before, after: (C, H, W) in one unit.
        psf: (h, w), shared by the channels.
        colour: they are red, green and blue.
    """
    y, x = (grey_image(torch.from_numpy(image.astype(np.float32)).unbind(), colour) for image in (before, after))
    return (y - reblur(x, psf)).numpy()
