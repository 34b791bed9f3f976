"""How images are treated, whatever the engine: what the user says of intensities, channels, tiles and memory."""

import math
from dataclasses import dataclass, replace

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.scale import DEFAULT_RULE, parse_rule
from deepblur.restoration.tiles import check_tile

CHANNELS = ("auto", "shared", "each")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How images are treated, whatever the engine.

    Raises:
        ValueError: what no image can be treated with; names the option.
    """

    scale: str = DEFAULT_RULE
    """What counts as black and white: "percentile:LOW,HIGH", "bits:N" or "range:BLACK,WHITE"."""
    channels: str = "auto"
    """auto, shared (one PSF for all channels, from their luminance) or each; auto shares it among colours."""
    varying: bool = False
    """The blur changes over the field: identify and restore tile by tile."""
    tile_px: int | None = None
    """Side of the tiles, 256 or more; None: as large as memory allows."""
    max_memory_gib: float = 2.0
    """Of the whole process; what does not fit goes over the disk."""
    shared: bool = True
    """All channels have the PSF of their luminance; this and what follows is of one recording, by `with_channels`."""
    colour: bool = False
    """The channels are red, green and blue: luminance is not their mean."""
    labels: tuple[str, ...] = ()
    """Names of the channels."""

    def __post_init__(self) -> None:
        parse_rule(self.scale)
        if self.channels not in CHANNELS:
            raise ValueError(f"channels are {', '.join(CHANNELS)}; got {self.channels!r}")
        if self.tile_px is not None:
            check_tile(self.tile_px)
        if not 0 < self.max_memory_gib < math.inf:
            raise ValueError(f"--max-memory is a number of GiB above 0; got {self.max_memory_gib:g}")


def with_channels(options: Options, recording: Recording, cutoffs: int = 0) -> Options:
    """The options for a recording's channels: "auto" shares the PSF among colours, not among a microscope's channels.

    Args:
        cutoffs: number of channels whose cutoff is known, 0 where they have one or none.
    Raises:
        ValueError: the channels share a PSF but not a cutoff.
        InputError: the recording has another number of channels.
    """
    if cutoffs and options.channels == "shared":
        raise ValueError(f"channels that share a PSF have one cutoff; got {cutoffs}; leave out --channels shared")
    if cutoffs and cutoffs != recording.channels:
        raise InputError(
            f"{recording.path}: has {recording.channels} channels, but --cutoff says {cutoffs} cutoffs; say one for "
            "each channel, or one for all"
        )
    shared = options.channels == "shared" or (options.channels == "auto" and recording.rgb and not cutoffs)
    return replace(options, shared=shared, colour=recording.rgb, labels=recording.channel_names)
