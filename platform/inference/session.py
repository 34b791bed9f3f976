"""A whole recording through an engine, frame by frame, and the report of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from platform import python_version
from typing import Any

import numpy as np

import deepblur
from deepblur.platform.inference.engines import Engine
from deepblur.platform.inference.failures import InputError
from deepblur.platform.inference.recording import Recording
from deepblur.platform.inference.restoration import VERDICTS, Blur, Options, Tick, identify_frame, restore_frame
from deepblur.platform.inference.scale import Scale

FORMAT, VERSION = "deepblur-report", 2
"""The version is part of what makes a result the same: older ones are not kept."""
CHANNELS = ("auto", "shared", "each")


@dataclass(frozen=True)
class Report:
    """What was done to an image, and how far to trust it."""

    made_by: dict[str, Any]
    """Method, restorer, optics and model: `Engine.described`."""
    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale: Scale
    blurs: tuple[Blur, ...]
    tiles: int
    """Per channel of a frame."""
    seconds: float
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    """What the user asked for, as plain values."""

    @property
    def method(self) -> str:
        return self.made_by["method"]

    @property
    def restorer(self) -> str:
        return self.made_by["restorer"]

    @property
    def cutoff(self) -> str:
        """In words; "" where the method knows none."""
        optics = self.made_by["optics"]
        if "cutoff" not in optics:
            return ""
        cutoffs = optics["cutoff"] if isinstance(optics["cutoff"], list) else [optics["cutoff"]]
        return f"cutoff {', '.join(f'{f:g}' for f in cutoffs)}" + " (assumed)" * optics["cutoff_assumed"]

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
            "version": VERSION,
            "deepblur": deepblur.__version__,
            "versions": versions(),
            **self.made_by,
            "options": self.options,
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

    def identified(self) -> Iterator[tuple[Blur, ...]]:
        """The blurs of one frame after another, nothing restored but what the verdict needs."""
        self.engine.check(self.recording.size, self.recording.pixel_um)
        for i, label in enumerate(self.recording.labels):
            started = time.perf_counter()
            unit = self.scale.to_unit(self.recording.frame(i))
            blurs = identify_frame(self.engine, unit, self.options, label=label, saturated=self.scale.saturated)
            self.blurs += blurs
            self.seconds += time.perf_counter() - started
            yield blurs

    def report(self, notes: tuple[str, ...] = (), options: dict[str, Any] | None = None) -> Report:
        """After the last frame."""
        return Report(
            made_by=self.engine.described(),
            options=options or {},
            axes=self.recording.axes,
            shape=self.recording.shape,
            dtype=str(self.recording.dtype),
            scale=self.scale,
            blurs=tuple(self.blurs),
            tiles=self.tiles,
            seconds=self.seconds,
            notes=notes,
        )


def versions() -> dict[str, str]:
    """Of what computes the numbers."""
    return {"python": python_version()} | {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")}


def with_channels(options: Options, recording: Recording, channels: str, cutoffs: int = 0) -> Options:
    """The options for a recording's channels: "auto" shares the PSF among colours, not among a microscope's channels.

    Args:
        cutoffs: number of channels whose cutoff was told, 0 where they have one or none.
    Raises:
        ValueError: channels is none of CHANNELS, or they share a PSF but not a cutoff.
        InputError: the recording has another number of channels.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels are {', '.join(CHANNELS)}; got {channels!r}")
    if cutoffs and channels == "shared":
        raise ValueError(f"channels that share a PSF have one cutoff; got {cutoffs}; leave out --channels shared")
    if cutoffs and cutoffs != recording.channels:
        raise InputError(
            f"{recording.path}: has {recording.channels} channels, but --cutoff says {cutoffs} cutoffs; say one for "
            "each channel, or one for all"
        )
    shared = channels == "shared" or (channels == "auto" and recording.rgb and not cutoffs)
    return replace(options, shared=shared, colour=recording.rgb, labels=recording.channel_names)


def assembled(frames: np.ndarray, recording: Recording) -> np.ndarray:
    """Frames (N, C, h, w) of a recording as one array with its axes, without alpha; h and w may be others than its."""
    order = sorted(recording.axes, key="TZCSYX".index)  # N runs through T and Z, C and S are the channels
    blocks = recording.shape[recording.axes.index("C")] if "C" in recording.axes else 1
    known = {"Y": frames.shape[-2], "X": frames.shape[-1], "S": frames.shape[1] // blocks}
    sizes = [known.get(axis, recording.shape[recording.axes.index(axis)]) for axis in order]
    return np.transpose(frames.reshape(sizes), [order.index(axis) for axis in recording.axes])
