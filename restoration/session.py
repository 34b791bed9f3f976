"""A whole recording through an engine, frame by frame, and the report of it."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepblur.baselines.estimate import richest_part
from deepblur.platform.system.errors import InputError
from deepblur.restoration.areas import cut_of, part_of
from deepblur.restoration.blurs import VERDICTS, JudgedBlur, with_outliers
from deepblur.restoration.channels import Channels, channels_of
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.frame import Tick, identify_frame, restore_frame
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.images.scratch import bands
from deepblur.restoration.known_optics import fitted, with_cutoffs_read
from deepblur.restoration.memory import with_room
from deepblur.restoration.options import EngineChoice, Options
from deepblur.restoration.pixels.filling import filled
from deepblur.restoration.pixels.masks import Mask, mask_of
from deepblur.restoration.pixels.outliers import replace_outliers
from deepblur.restoration.report import Report
from deepblur.restoration.scale import Scale, Scaling

PART_PX = 2048
"""Side of the parts in which outliers of a frame on disk are looked for."""
SHOWN_PX = 1024
"""Side of the part of a frame on disk that its picture shows."""


@dataclass(frozen=True)
class _Read:
    """A frame as it was read."""

    stored: np.ndarray
    """(C, H, W)."""
    unit: np.ndarray
    """The same without its outliers and with its mask filled, in units of the scales."""
    scales: tuple[Scale, ...]
    outliers: list[list[tuple[int, int]]]
    """Rows and columns, for each channel."""


@dataclass(frozen=True)
class Part:
    """Successive frames of a recording that another process has restored."""

    file: Path
    """(n, C, h, w) in the recording's dtype, as `numpy.save` writes it."""
    blurs: tuple[JudgedBlur, ...]
    first: tuple[np.ndarray, np.ndarray] | None
    """As of the session."""
    tiles: int
    seconds: float


@dataclass
class Session:
    """One recording on its way: `frames()` restores, the rest tells what came of it."""

    engine: Engine
    recording: Recording
    options: Options
    channels: Channels
    tick: Tick | None = None
    """Called with the share of a frame that was just done."""
    mask: Mask | None = None
    """Pixels that say nothing."""
    blurs: list[JudgedBlur] = field(default_factory=list)
    first: tuple[np.ndarray, np.ndarray] | None = None
    """The first frame before and after, (C, H, W) in units of the scale."""
    tiles: int = 1
    """Of a frame, at most."""
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        engine: Engine,
        choice: EngineChoice,
        recording: Recording,
        options: Options,
        folder: Path,
        tick: Tick | None = None,
    ) -> "Session":
        """The engine of this choice is adapted to what the file says; frames too large for memory lie in `folder`.

        Raises:
            ValueError, InputError: channels, optics or mask do not fit what was asked for, or not one part of the file
                fits.
        """
        mask = mask_of(options.mask)
        if mask is not None:
            mask.check(recording.size)
        recording = with_room(recording, engine, options, folder)
        channels = channels_of(recording, options.channels, choice.each_channel)
        engine = fitted(engine, choice, recording, channels)
        return cls(engine, recording, options, channels, tick, mask)

    def frames(self) -> Iterator[np.ndarray]:
        """Restored frames (C, H, W) in the recording's dtype, one at a time; what is empty in them is copied.

        Raises:
            InputError: a frame cannot be used, or all are empty.
        """
        yield from self._restored(range(self.recording.length))
        self._check_not_empty()

    def part(self, frames: range, file: Path) -> Part:
        """Restore some of the frames alone, into a file; together the parts are what one process makes of them all."""
        shape = (len(frames), self.recording.channels, *self.size)
        stored = np.lib.format.open_memmap(file, "w+", self.recording.dtype, shape)
        for k, frame in enumerate(self._restored(frames)):
            stored[k] = frame
        stored.flush()
        return Part(file, tuple(self.blurs), self.first, self.tiles, self.seconds)

    def joined(self, parts: Sequence[Part]) -> Iterator[np.ndarray]:
        """As `frames`, of what others have restored: all of them, in their order."""
        for _ in self._read(range(0)):  # for the cutoffs alone
            pass
        for part in parts:
            self.blurs += part.blurs
            self.tiles, self.seconds = max(self.tiles, part.tiles), self.seconds + part.seconds
            self.first = self.first or part.first
            yield from np.load(part.file, mmap_mode="r", allow_pickle=False)
        self._check_not_empty()

    def _restored(self, frames: range) -> Iterator[np.ndarray]:
        for i, read in self._read(frames):
            started = time.perf_counter()
            frame = restore_frame(self.engine, read.unit, self.options, tick=self.tick, **self._about(i, read))
            self._add(frame.blurs, read)
            self.tiles = max(self.tiles, frame.tiles)
            read = self._cut(read)
            if self.first is None and any(blur.verdict in VERDICTS for blur in frame.blurs):
                self.first = self._shown(read.unit, frame.channels)
            restored = self._stored(frame.channels, read)
            self.seconds += time.perf_counter() - started
            yield restored

    def identified(self) -> Iterator[tuple[JudgedBlur, ...]]:
        """The blurs of one frame after another, nothing restored but what the verdict needs; errors as `frames`."""
        for i, read in self._read(range(self.recording.length)):
            started = time.perf_counter()
            blurs = identify_frame(self.engine, read.unit, self.options, **self._about(i, read))
            self._add(blurs, read)
            self.seconds += time.perf_counter() - started
            yield blurs
        self._check_not_empty()

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of what is restored."""
        rows, columns = cut_of(self.options, self.recording.size)
        return rows.stop - rows.start, columns.stop - columns.start

    def _cut(self, read: "_Read") -> "_Read":
        """What was read of the part that is restored."""
        part = (slice(None), *cut_of(self.options, self.recording.size))
        return replace(read, stored=read.stored[part], unit=read.unit[part])

    def _about(self, i: int, read: "_Read") -> dict[str, Any]:
        label, scratch = self.recording.labels[i], self.recording.scratch
        return {"channels": self.channels, "label": label, "scales": read.scales, "scratch": scratch}

    def _read(self, frames: range) -> Iterator[tuple[int, "_Read"]]:
        """These frames; those before are looked at only until one is not empty, by which the lens is known."""
        self.engine.check(self.recording.size, self.recording.pixel_um)
        scaling, read = Scaling.of(self.recording, self.options.scale), False
        for i in range(self.recording.length):
            if read and i not in frames:
                continue
            stored = self.recording.frame(i)
            clean, outliers = self._clean(stored)
            scales = scaling.of_frame(clean, self.channels.shared)
            unit = self.recording.scratch.empty(clean.shape)
            for k, rows in self._bands(clean.shape):
                unit[k, rows] = scales[k].to_unit(clean[k, rows])
            if not read and unit.min() < unit.max():
                self._know_by(unit, scales)
                read = True
            if i in frames:
                yield i, _Read(stored, unit, scales, outliers)

    def _know_by(self, unit: np.ndarray, scales: Sequence[Scale]) -> None:
        """Cutoffs that nobody says are those of the first frame that is not empty: a lens stays the same."""
        frame, scratch = torch.from_numpy(unit), self.recording.scratch
        region = part_of(self.options.region, frame.shape[-2:])
        self.engine = with_cutoffs_read(self.engine, frame, self.channels, scales, region)
        scratch.release()

    def _bands(self, shape: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
        """(channel, rows), so many at a time as memory has room for."""
        for k in range(shape[0]):
            for rows in bands(shape[1:]):
                yield k, rows
                self.recording.scratch.release()

    def _clean(self, stored: np.ndarray) -> tuple[np.ndarray, list[list[tuple[int, int]]]]:
        """A frame (C, H, W) without outliers, whose places are returned, and with its mask filled.

        One on disk is gone through part by part.
        """
        scratch, (H, W) = self.recording.scratch, stored.shape[1:]
        side = PART_PX if scratch.on_disk else max(H, W)
        clean = stored
        outliers: list[list[tuple[int, int]]] = []
        for k, channel in enumerate(stored):
            outliers.append([])
            for row, column in itertools.product(range(0, H, side), range(0, W, side)):
                part = (slice(row, row + side), slice(column, column + side))
                seen = channel[part] if self.mask is None else filled(channel[part], self.mask.hidden[part])
                replaced, places = replace_outliers(seen) if self._oversampled(k) else (seen, np.empty((0, 2), int))
                outliers[k] += [(row + int(down), column + int(right)) for down, right in places]
                changed = len(places) > 0 or (self.mask is not None and bool(self.mask.hidden[part].any()))
                if changed and clean is stored:
                    clean = scratch.empty(stored.shape, stored.dtype)
                    for j, rows in self._bands(stored.shape):
                        clean[j, rows] = stored[j, rows]
                if changed:
                    clean[k][part] = replaced
                scratch.release()
        return clean, outliers

    def _oversampled(self, channel: int) -> bool:
        """Whether a point of light covers more than a pixel; else a single bright one may be the specimen's."""
        operator = self.engine.of_channel(channel).operator
        return operator is None or not operator.coarse

    def _add(self, blurs: tuple[JudgedBlur, ...], read: "_Read") -> None:
        """Keep the blurs of a frame, one for each channel or one for all, with the outliers of their channels."""
        outliers: list[list[tuple[int, ...]]] = [list(places) for places in read.outliers]
        if len(blurs) < len(outliers):
            outliers = [[(*place, k) for k, places in enumerate(read.outliers) for place in places]]
        self.blurs += [with_outliers(blur, places) for blur, places in zip(blurs, outliers, strict=True)]

    def _check_not_empty(self) -> None:
        if all(blur.verdict not in VERDICTS for blur in self.blurs):
            raise InputError(
                f"{self.recording.path}: every frame has one value in all of its pixels, so there is nothing to "
                "restore; leave it out"
            )

    def _stored(self, restored: np.ndarray, read: "_Read") -> np.ndarray:
        """A restored frame in the recording's dtype; what is empty or masked in it is that of the file."""
        dtype = self.recording.dtype
        stored = self.recording.scratch.empty(restored.shape, dtype)
        empty = [done.min() == done.max() for done in restored]
        for k, rows in self._bands(restored.shape):
            done = restored[k, rows]
            stored[k, rows] = read.stored[k, rows] if empty[k] else read.scales[k].to_stored(done, dtype)
            if self.mask is not None:
                hidden = self.mask.hidden[cut_of(self.options, self.recording.size)][rows]
                stored[k, rows][hidden] = read.stored[k, rows][hidden]
        return stored

    def _shown(self, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the picture shows of a frame: of one on disk the part with most structure."""
        if not self.recording.scratch.on_disk:
            return before, after
        rows, columns = richest_part(torch.from_numpy(before[0]), SHOWN_PX)
        self.recording.scratch.release()
        return before[:, rows, columns].copy(), after[:, rows, columns].copy()

    def report(self, notes: tuple[str, ...] = (), options: dict[str, Any] | None = None) -> Report:
        """After the last frame."""
        return Report(
            made_by=self.engine.described(),
            options=options or {},
            axes=self.recording.axes,
            shape=self.recording.shape,
            dtype=str(self.recording.dtype),
            scale_rule=self.options.scale,
            blurs=tuple(self.blurs),
            tiles=self.tiles,
            seconds=self.seconds,
            notes=notes,
            about_file=self.recording.notes + self._about_parts(),
        )

    def _about_parts(self) -> tuple[str, ...]:
        """Which pixels counted, where not all did."""
        masked = () if self.mask is None else (self.mask.words,)
        if self.options.region is None or all(blur.found.given for blur in self.blurs):
            return masked
        row, column, height, width = self.options.region
        return (f"the blur was identified in {height}x{width} pixels from ({row}, {column}) on", *masked)
