"""Stored values ↔ the intensities near [0, 1] that identification and restoration expect.

Every frame has a scale of its own, as if it were alone: in a series that fades, the last frames would drown in the
rounding and the limits of the first one's. A declared scale is the same for all. The way back is exact for each, so
that brightness stays comparable from frame to frame.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from deepblur.platform.system.errors import InputError
from deepblur.restoration.images.recording import Recording
from deepblur.restoration.options import DEFAULT_RULE, Rule, parse_rule

_SAMPLE_VALUES = 2**22
_REACH = 1.5
_CAMERA_BITS = (8, 10, 12, 14, 16)
_PILE = 1e-3
"""Of the values: fewer at the largest one are no sign of clipping."""


@dataclass(frozen=True)
class Scale:
    """Which stored values mean 0 and 1."""

    black: float
    white: float
    saturated: float
    """Fraction of the values at the largest one that the storage, the declared depth or the camera can give, or where
    they pile up."""

    def to_unit(self, stored: np.ndarray) -> np.ndarray:
        """float32 of the same shape; values outside [black, white] lie outside [0, 1]."""
        return ((stored.astype(np.float64) - self.black) / (self.white - self.black)).astype(np.float32)

    def to_stored(self, unit: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
        """The inverse: rounded for integers, and clipped to what `dtype` can hold."""
        dtype = np.dtype(dtype)
        values = np.asarray(unit, np.float64) * (self.white - self.black) + self.black
        if not np.isfinite(values).all():
            raise ValueError("a restored image has NaN or infinite values; this is a defect of the method used")
        if dtype.kind == "f":
            info = np.finfo(dtype)
            return np.clip(values, float(info.min), float(info.max)).astype(dtype)
        low, high = _limits(dtype)
        return np.clip(np.rint(values), low, high).astype(dtype)


def scale_of(recording: Recording, rule: str = DEFAULT_RULE) -> Scale:
    """One scale for a whole recording: all frames, all channels.

    - percentile: black is the LOW percentile, white the HIGH one, of all values or of a regular sample of about four
      million; then both give way so far that no value leaves [−0.5, 1.5].
    - bits, range: as declared.

    Saturated are values at the largest one that the type or the declared depth holds; where the recording's own
    maximum is 2^b − 1 for a camera's b of 8, 10, 12, 14 or 16, or that times the factor that all values have in common
    (a camera whose bits are stored in the upper ones), that one. Floats count as unsaturated unless a depth is
    declared. Reads every frame once, one at a time.

    Raises:
        InputError: a frame cannot be read; all values are the same; the maximum exceeds the declared depth.
        ValueError: the rule, as `parse_rule`.
    """
    parsed = parse_rule(rule)
    seen = _Seen.of(recording.frames(), recording.length, parsed.kind == "percentile", recording.scratch.release)
    _check(recording, parsed, seen)
    return _scale(parsed, recording, seen, seen.grain)


@dataclass(frozen=True)
class Scaling:
    """The scales of a recording's frames."""

    rule: Rule
    recording: Recording
    grain: int
    """The factor that all values of the recording have in common."""

    @classmethod
    def of(cls, recording: Recording, rule: str = DEFAULT_RULE) -> "Scaling":
        """Reads every frame once; errors as `scale_of`."""
        parsed = parse_rule(rule)
        seen = _Seen.of(recording.frames(), recording.length, False, recording.scratch.release)
        _check(recording, parsed, seen)
        return cls(parsed, recording, seen.grain)

    def of_frame(self, frame: np.ndarray, shared: bool) -> tuple[Scale, ...]:
        """One for each channel of (C, H, W); all the same where they share a PSF, and so their light."""
        if shared:
            return (self._of(frame),) * len(frame)
        return tuple(self._of(channel[None]) for channel in frame)

    def _of(self, values: np.ndarray) -> Scale:
        release = self.recording.scratch.release
        seen = _Seen.of([values], 1, self.rule.kind == "percentile", release)
        if seen.low == seen.high:
            return Scale(seen.low, seen.low + 1, 0.0)
        scale = _scale(self.rule, self.recording, seen, self.grain)
        return scale if scale.saturated else replace(scale, saturated=_piled(values, seen, release))


def _check(recording: Recording, rule: Rule, seen: "_Seen") -> None:
    if seen.low == seen.high:
        raise InputError(
            f"{recording.path}: every pixel has the value {seen.low:g}, so there is nothing to restore; leave it out"
        )
    if rule.kind == "bits" and seen.high > 2.0**rule.first - 1:
        raise InputError(
            f"{recording.path}: has the value {seen.high:g}, above {2 ** int(rule.first) - 1} of the declared "
            f"{int(rule.first)} bits; declare more"
        )


def _scale(rule: Rule, recording: Recording, seen: "_Seen", grain: int) -> Scale:
    if rule.kind == "range":
        return Scale(rule.first, rule.second, seen.saturated(recording, 0, grain))
    if rule.kind == "bits":
        bits = int(rule.first)
        return Scale(0.0, 2.0**bits - 1, seen.saturated(recording, bits, grain))
    black, white = (float(value) for value in np.percentile(seen.sample, [rule.first, rule.second]))
    white = max(white, black + (seen.high - black) / _REACH)
    if black - seen.low > (_REACH - 1) * (white - black):
        black = (seen.low + (_REACH - 1) * white) / _REACH
    return Scale(black, white, seen.saturated(recording, 0, grain))


def _piled(values: np.ndarray, seen: "_Seen", release: Callable[[], None]) -> float:
    """Fraction of the values at the largest one where far more have it than a continuous tail would leave there.

    That is how a camera looks whose black was subtracted, or a float image that was clipped: the top is no power of 2.
    """
    if seen.at_high <= _PILE * values.size:
        return 0.0
    flat = values.reshape(-1)
    reach = 0.05 * (seen.high - float(np.median(flat[:: _step(flat.size, 1, values.shape[-1])])))
    release()
    near = 0
    for start in range(0, flat.size, _SAMPLE_VALUES):
        near += int(np.count_nonzero(flat[start : start + _SAMPLE_VALUES] >= seen.high - reach))
        release()
    return seen.at_high / values.size if 0 < near - seen.at_high < seen.at_high else 0.0


@dataclass(frozen=True)
class _Seen:
    """One pass over all values."""

    low: float
    high: float
    at_high: int
    count: int
    grain: int
    sample: np.ndarray

    @classmethod
    def of(cls, frames: Iterable[np.ndarray], length: int, sample: bool, release: Callable[[], None]) -> "_Seen":
        low, high, at_high, count, grain = math.inf, -math.inf, 0, 0, 0
        kept = []
        for frame in frames:
            flat = frame.reshape(-1)
            step = _step(flat.size, length, frame.shape[-1])
            for start in range(0, flat.size, _SAMPLE_VALUES):  # a frame may lie on disk
                values = flat[start : start + _SAMPLE_VALUES]
                low, top = min(low, float(values.min())), float(values.max())
                at_top = int(np.count_nonzero(values == values.max())) if top >= high else 0
                at_high = at_top + (at_high if top == high else 0) if top >= high else at_high
                high, count = max(high, top), count + values.size
                if values.dtype.kind in "ui" and grain != 1:
                    grain = math.gcd(grain, int(np.gcd.reduce(values)))
                if sample:
                    kept.append(values[-start % step :: step].astype(np.float64))
                release()
        return cls(low, high, at_high, count, max(grain, 1), np.concatenate(kept) if kept else np.empty(0))

    def saturated(self, recording: Recording, bits: int, grain: int) -> float:
        """Fraction of values at the top of the range; `bits` as the user declares, 0 if not."""
        sign = recording.dtype.kind == "i"
        tops = {2.0**b - 1 for b in (bits, recording.bits - sign) if b > 0}
        if recording.dtype.kind in "ui":
            known = [2**b - 1 for b in _CAMERA_BITS if b <= 8 * recording.dtype.itemsize]
            tops |= {float(top) for top in known} | {float(top * grain) for top in known}
        return self.at_high / self.count if self.high in tops else 0.0


def _step(values: int, frames: int, width: int) -> int:
    """A stride that takes each frame's share of the sample and does not stay in the same columns."""
    step = max(1, math.ceil(values * frames / _SAMPLE_VALUES))
    while math.gcd(step, width) > 1:
        step += 1
    return step


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """The integers' range in float64, never beyond it (2^63 − 1 and 2^64 − 1 are no float64)."""
    info = np.iinfo(dtype)
    high = float(info.max)
    return float(info.min), high if int(high) <= info.max else float(np.nextafter(high, 0))
