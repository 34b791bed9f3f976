"""A recording on its way through an engine, away from the window: how far it is, and how it is stopped."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np

from deepblur.platform.system.errors import OF_AN_IMAGE, sentence_of
from deepblur.restoration.areas import cut_of
from deepblur.restoration.blurs import EMPTY, JudgedBlur
from deepblur.restoration.channels import residual_image
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.formats.array_source import LEADING
from deepblur.restoration.images.recording import Recording, check_fits
from deepblur.restoration.options import EngineChoice, Options, asked, check_together
from deepblur.restoration.report import Report
from deepblur.restoration.session import Session

_ARRAYS = 16.0
"""Bytes that stay in memory for a value that is restored: the image, its residual, and their copies in the viewer."""


@dataclass(frozen=True)
class Found:
    """What became of a recording of N frames."""

    report: Report
    restored: np.ndarray | None
    """(N, C, h, w) in the recording's dtype; None where the blur was identified only."""
    residual: np.ndarray | None
    """(N, h, w) float32: image minus the restored one blurred again, grey, in the image's unit."""

    sizes: tuple[int, ...]
    """Along the axes of the frames."""

    def blur_of(self, frame: int) -> JudgedBlur:
        """Of a frame; where it is empty that of the first that is not."""
        blur = self.report.blurs[min(frame, len(self.report.blurs) - 1)]
        return blur if blur in self.report.judged else self.report.judged[0]


class _StoppedError(Exception):
    """The user wants no more of it."""


@dataclass
class Work:
    """One recording, to be identified or restored."""

    choice: EngineChoice
    recording: Recording
    options: Options
    restores: bool
    share: float = 0.0
    """That is done."""
    stopped: Event = field(default_factory=Event)
    """Set by who wants it to end."""

    def run(self) -> Found | str | None:
        """What was found, or the sentence that says why nothing was; None when it was stopped."""
        try:
            return self._run()
        except _StoppedError:
            return None
        except OF_AN_IMAGE as error:
            return sentence_of(error)

    def _run(self) -> Found:
        check_together(self.choice, self.options)
        engine, note = choose_engine(self.choice)
        if self.restores:
            check_fits(self.recording, _ARRAYS)
        with tempfile.TemporaryDirectory() as folder:
            session = Session.of(engine, self.choice, self.recording, self.options, Path(folder), self._tick)
            restored, residual = self._restored(session) if self.restores else (None, None)
            for _ in () if self.restores else session.identified():
                self._tick(1.0)
            report = session.report((note,) if note else (), asked(self.choice, self.options))
            return Found(report, restored, residual, frame_sizes(self.recording))

    def _restored(self, session: Session) -> tuple[np.ndarray, np.ndarray]:
        recording, part = self.recording, cut_of(self.options, self.recording.size)
        restored = np.empty((recording.length, recording.channels, *session.size), recording.dtype)
        residual = np.zeros((recording.length, *session.size), np.float32)
        for i, frame in enumerate(session.frames()):
            restored[i], blur = frame, session.blurs[i]
            if blur.verdict != EMPTY:
                before = recording.frame(i)[:, *part]
                residual[i] = residual_image(before, frame, blur.found.psf, recording.rgb)
        return restored, residual

    def _tick(self, share: float) -> None:
        """Called with the share of a frame that was just done."""
        self.share += share / self.recording.length
        if self.stopped.is_set():
            raise _StoppedError


def frame_sizes(recording: Recording) -> tuple[int, ...]:
    """Along the axes of which each place is a frame."""
    return tuple(size for axis, size in zip(recording.axes, recording.shape, strict=True) if axis in LEADING)
