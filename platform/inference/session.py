"""A whole recording through an engine, frame by frame, and the report of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import deepblur
from deepblur.platform.inference.engines import Engine
from deepblur.platform.inference.recording import Recording
from deepblur.platform.inference.restoration import VERDICTS, Blur, Options, Tick, restore_frame
from deepblur.platform.inference.scale import Scale

FORMAT = "deepblur-report"
CHANNELS = ("auto", "shared", "each")


@dataclass(frozen=True)
class Report:
    """What was done to an image, and how far to trust it."""

    method: str
    restorer: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale: Scale
    blurs: tuple[Blur, ...]
    tiles: int
    """Per channel of a frame."""
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """good, doubtful or poor: the worst of all blurs."""
        return max((blur.verdict for blur in self.blurs), key=VERDICTS.index)

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        worst = next(blur for blur in self.blurs if blur.verdict == self.verdict)
        place = ", ".join(part for part in (worst.frame, worst.channel) if part)
        return f"{worst.sentence} ({place})" if place and len(self.blurs) > 1 else worst.sentence

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": 1,
            "deepblur": deepblur.__version__,
            "method": self.method,
            "restorer": self.restorer,
            "image": {"axes": self.axes, "shape": list(self.shape), "dtype": self.dtype},
            "scale": {"black": self.scale.black, "white": self.scale.white, "saturated": self.scale.saturated},
            "verdict": self.verdict,
            "sentence": self.sentence,
            "notes": list(self.notes),
            "blurs": [blur.as_json() for blur in self.blurs],
            "tiles": self.tiles,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Session:
    """One recording on its way: `frames()` restores, the rest tells what came of it."""

    engine: Engine
    recording: Recording
    scale: Scale
    options: Options
    tick: Tick | None = None
    """Called with the share of a frame that was just done."""
    blurs: list[Blur] = field(default_factory=list)
    first: tuple[np.ndarray, np.ndarray] | None = None
    """The first frame before and after, (C, H, W) in units of the scale."""
    tiles: int = 1
    seconds: float = 0.0

    def frames(self) -> Iterator[np.ndarray]:
        """Restored frames (C, H, W) in the recording's dtype, one at a time."""
        self.engine.check(self.recording.size, self.recording.pixel_um)
        for i in range(self.recording.length):
            started = time.perf_counter()
            unit = self.scale.to_unit(self.recording.frame(i))
            frame = restore_frame(
                self.engine,
                unit,
                self.options,
                label=self.recording.labels[i],
                saturated=self.scale.saturated,
                tick=self.tick,
            )
            self.blurs += frame.blurs
            self.tiles = frame.tiles
            if self.first is None:
                self.first = unit, frame.channels
            self.seconds += time.perf_counter() - started
            yield self.scale.to_stored(frame.channels, self.recording.dtype)

    def report(self, notes: tuple[str, ...] = ()) -> Report:
        """After the last frame."""
        return Report(
            method=self.engine.name,
            restorer=self.engine.restorer,
            axes=self.recording.axes,
            shape=self.recording.shape,
            dtype=str(self.recording.dtype),
            scale=self.scale,
            blurs=tuple(self.blurs),
            tiles=self.tiles,
            seconds=self.seconds,
            notes=notes,
        )


def with_channels(options: Options, recording: Recording, channels: str) -> Options:
    """The options for a recording's channels: "auto" shares the PSF among colours, not among a microscope's channels.

    Raises:
        ValueError: channels is none of CHANNELS.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels are {', '.join(CHANNELS)}; got {channels!r}")
    shared = channels == "shared" or (channels == "auto" and recording.rgb)
    return replace(options, shared=shared, colour=recording.rgb, labels=recording.channel_names)


def assembled(frames: np.ndarray, recording: Recording) -> np.ndarray:
    """Frames (N, C, h, w) of a recording as one array with its axes, without alpha; h and w may be others than its."""
    order = sorted(recording.axes, key="TZCSYX".index)  # N runs through T and Z, C and S are the channels
    blocks = recording.shape[recording.axes.index("C")] if "C" in recording.axes else 1
    known = {"Y": frames.shape[-2], "X": frames.shape[-1], "S": frames.shape[1] // blocks}
    sizes = [known.get(axis, recording.shape[recording.axes.index(axis)]) for axis in order]
    return np.transpose(frames.reshape(sizes), [order.index(axis) for axis in recording.axes])
