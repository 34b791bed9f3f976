"""A PSF that somebody measured, or had computed, made ready to restore with: centred, without background, of sum 1.

Two kinds come in. One that is finished (floats, odd sides, nothing negative, sum 1, in the middle) is taken as it is.
Anything else counts as the image of a point: its background and its noise are those of its border, unless the light
there varies as the tails of a PSF do; what does not stand out of the noise is dark, because the sum of a thousand faint
pixels of noise would be a haze as bright as the point; the light's centroid becomes the middle, to a whole pixel, so
that things stay where they were.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from deepblur.platform.system.errors import InputError
from deepblur.restoration.formats.files import open_image
from deepblur.restoration.images.io import recording_of
from deepblur.restoration.images.recording import Recording

LARGEST_PX = 1023
"""Side of an image of a point; larger ones show a field."""
_MIN_PX = 3
_FRAME_PX = 2
"""Width of the border that tells background and noise."""
_EVEN = 0.35
"""Deviation over median of the border: below it a background, above it the tails of a PSF (0.44 or more, up to
aberrations of 0.5 waves, at cutoffs of 0.05 to 0.25)."""
_FALL = 1.25
"""Times the border's median: so far the tails of a PSF have risen a third of the way to its middle."""
_MIN_SNR = 10.0
"""Peak of the light over the noise."""
_FAINT = 0.02
"""Of the brightest part's light: what stands apart with less is noise."""
_FAINT_NOISES = 20.0
"""The same in deviations of the noise: ten pixels of noise that happen to be bright together have less."""
_PEAK = 0.1
"""Of the highest value: what is above it belongs to a peak."""
_OTHER = 0.1
"""Of the brightest peak's light: one with more, so far away that no lens splits a point that much, is another point."""
_NEGATIVE = 0.05
_HIGH_BORDER = 0.3
_ENERGY = 0.999
_FINISHED_SUM = 0.01


@dataclass(frozen=True, eq=False)
class MeasuredPSF:
    """A PSF that is ready to restore with."""

    psf: np.ndarray
    """(n, n) float32, n odd, nothing negative, sum 1, its middle pixel the origin."""
    name: str
    """That of its file, or "the array"."""
    done: str
    """What was done to it, in words."""
    pixel_um: float | None = None
    """Side of its pixels in the sample, where its file says so."""

    @property
    def digest(self) -> str:
        """BLAKE2b of its values."""
        return hashlib.blake2b(self.psf.tobytes(), digest_size=16).hexdigest()


def measured_psf(given: str | Path | np.ndarray, psf_size: int | None = None) -> MeasuredPSF:
    """A PSF from a file or an array.

    Args:
        given: an image file, or an array of real numbers (h, w); of stacks, (planes, h, w), the sharpest plane counts.
        psf_size: side to cut it to, in pixels, odd; None keeps 99.9 % of its light.
    Raises:
        InputError: what cannot be a PSF: no readable image, colours or channels, sides beyond 3 to 1023 pixels, NaN,
            flat, drowned in noise, negative, cut off by its border, or of several points.
    """
    if isinstance(given, str | Path):
        recording = open_image(given, min_side_px=_MIN_PX)
    else:
        array = np.asarray(given)
        if array.ndim not in (2, 3):
            raise InputError(f"a PSF is an image (h, w), or planes (z, h, w); got an array of shape {array.shape}")
        recording = recording_of(array, "ZYX"[3 - array.ndim :], "the array", min_side_px=_MIN_PX)
    name = recording.path.name
    if max(recording.size) > LARGEST_PX:
        H, W = recording.size
        raise InputError(f"{name}: is {H}x{W}, but a PSF has at most {LARGEST_PX} pixels a side; cut out one point")
    plane, steps = _sharpest(recording)
    try:
        psf, more = ready(plane, psf_size, counts=recording.dtype.kind in "ui")
    except ValueError as error:
        raise InputError(f"{name} cannot serve as PSF: {error}") from None
    return MeasuredPSF(psf, name, ", ".join([*steps, *more]), recording.pixel_um)


def ready(image: np.ndarray, psf_size: int | None = None, *, counts: bool = False) -> tuple[np.ndarray, list[str]]:
    """((n, n) float32 of sum 1, what was done in a few words each).

    Args:
        image: (H, W), the image of a point.
        psf_size: as in `measured_psf`.
        counts: its values are whole numbers, whose background is noisy even where it is low.
    Raises:
        ValueError: why it is no PSF, and the remedy.
    """
    image = np.asarray(image, np.float64)
    if image.min() == image.max():
        raise ValueError(f"every pixel has the value {image.min():g}; take the image of a point")
    if _finished(image):
        return _cut(image, (image.shape[0] // 2, image.shape[1] // 2), psf_size, 1.0, ["taken as it is"])
    background, noise = _ground(image, counts)
    light, steps = image - background, []
    if abs(background) > 1e-4 * light.max():
        steps.append(f"background of {background:.4g} subtracted")
    _check_stands_out(light, noise)
    negative = -light[light < -4 * noise].sum()
    lit = np.where(_lit(light, noise), light, 0).clip(0)
    if negative > _NEGATIVE * lit.sum():
        share = 100 * negative / lit.sum()
        raise ValueError(f"it has {share:.0f} % of its light in negative values; take one that was not filtered")
    if noise:
        steps.append("what does not stand out of the noise set to 0")
    elif negative:
        steps.append("negative values set to 0")
    _check_one_point(lit, noise)
    rows, columns = np.indices(lit.shape)
    middle = (round(float((lit * rows).sum() / lit.sum())), round(float((lit * columns).sum() / lit.sum())))
    moved = (middle[0] - lit.shape[0] // 2, middle[1] - lit.shape[1] // 2)
    if any(moved):
        steps.append(f"recentred by {moved[0]:+d} rows and {moved[1]:+d} columns")
    return _cut(lit, middle, psf_size, _ENERGY, steps)


def _sharpest(recording: Recording) -> tuple[np.ndarray, list[str]]:
    """The plane (H, W) with the highest peak, where the point is in focus, and what was chosen."""
    best, chosen, plane = -np.inf, 0, np.empty(0)
    for i in range(recording.length):
        frame = recording.frame(i)
        if len(frame) > 1 and not (recording.rgb and (frame == frame[0]).all()):
            kind = "colours" if recording.rgb else f"{len(frame)} channels"
            raise InputError(f"{recording.path.name}: has {kind}, but a PSF is one grey image; save one channel of it")
        values = frame[0].astype(np.float64)
        peak = float(ndimage.uniform_filter(values, 3).max() - np.median(values))
        if peak > best:
            best, chosen, plane = peak, i, values
    if recording.length == 1:
        return plane, []
    return plane, [f"{recording.labels[chosen]}, the sharpest of {recording.length} planes, taken"]


def _finished(image: np.ndarray) -> bool:
    """Whether a program made it ready: odd sides, nothing negative, sum 1, its light about the middle."""
    total = float(image.sum())
    if image.min() < 0 or abs(total - 1) > _FINISHED_SUM or not all(side % 2 for side in image.shape):
        return False
    off = [abs((image.sum(1 - axis) * _from_middle(side)).sum()) / side for axis, side in enumerate(image.shape)]
    return max(off) < 0.25


def _from_middle(side: int) -> np.ndarray:
    return np.arange(side) - side // 2


def _ground(image: np.ndarray, counts: bool) -> tuple[float, float]:
    """(background, standard deviation of its noise) by the border; zeros where that shows the tails of the PSF."""
    reach = np.minimum.reduce(np.meshgrid(*(np.minimum(np.arange(n), np.arange(n)[::-1]) for n in image.shape),
                                          indexing="ij"))  # fmt: skip
    frame = image[reach < min(_FRAME_PX, min(image.shape) // 4 + 1)]
    level = float(np.median(frame))
    noise = 1.4826 * float(np.median(np.abs(frame - level)))
    third = image[np.abs(reach - min(image.shape) // 6) <= 1]
    even = noise <= _EVEN * abs(level) or (counts and float(np.median(third)) <= _FALL * level)
    return (level, noise) if even or frame.min() < 0 else (0.0, 0.0)


def _check_stands_out(light: np.ndarray, noise: float) -> None:
    peak, low = float(light.max()), float(light.min())
    if max(peak, -low) < _MIN_SNR * noise:
        raise ValueError(f"nothing stands out of its background (peak {peak:.3g}, noise {noise:.3g}); average frames")
    if peak < -low:
        raise ValueError(f"its values go further down ({low:.3g}) than up ({peak:.3g}); invert it")
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    if float(np.median(border)) > _HIGH_BORDER * peak:
        raise ValueError("its light goes on to the border, where a PSF is dark; take a larger part about the point")
    row, column = np.unravel_index(light.argmax(), light.shape)
    H, W = light.shape
    if min(row, column, H - 1 - row, W - 1 - column) < 1:
        raise ValueError(f"its brightest pixel, ({row}, {column}), lies at the border; take a larger part about it")


def _lit(light: np.ndarray, noise: float) -> np.ndarray:
    """(H, W) bool: where there is light of the point."""
    if not noise:
        return np.ones(light.shape, bool)
    bright = ndimage.uniform_filter(light, 3, mode="nearest") > noise  # three deviations of such a mean
    parts, count = ndimage.label(bright, np.ones((3, 3)))
    mass = ndimage.sum_labels(light, parts, range(1, count + 1))
    kept = 1 + np.flatnonzero(mass > max(_FAINT * mass.max(), _FAINT_NOISES * noise))
    return ndimage.binary_dilation(np.isin(parts, kept), np.ones((3, 3)))


def _check_one_point(lit: np.ndarray, noise: float) -> None:
    """Peaks further apart than the width of the highest, with a tenth of its light, are several points."""
    peak = lit.max()
    core, _ = ndimage.label(lit > peak / 2)
    width = 2 * np.sqrt((core == core[np.unravel_index(lit.argmax(), lit.shape)]).sum() / np.pi)
    high = lit > max(_PEAK * peak, 5 * noise)
    near = ndimage.distance_transform_edt(~high) <= np.ceil(width)
    parts, count = ndimage.label(near)
    mass = np.sort(ndimage.sum_labels(np.where(high, lit, 0), parts, range(1, count + 1)))[::-1]
    several = int((mass > _OTHER * mass[0]).sum())
    if several > 1:
        raise ValueError(f"it shows {several} separate peaks; cut out one point")


def _cut(
    light: np.ndarray, middle: tuple[int, int], psf_size: int | None, energy: float, steps: Iterable[str]
) -> tuple[np.ndarray, list[str]]:
    """The square about the middle with that share of the light, or of that size, normalised."""
    steps = list(steps)
    rows, columns = (np.abs(np.arange(n) - m) for n, m in zip(light.shape, middle, strict=True))
    far = np.maximum(rows[:, None], columns)
    within = np.bincount(far.ravel(), light.ravel()).cumsum() / light.sum()
    half = len(within) - 1 if energy == 1 else int(np.searchsorted(within, energy))
    half = half if psf_size is None else psf_size // 2
    side = 2 * half + 1
    padded = np.pad(light, half)
    psf = padded[middle[0] : middle[0] + side, middle[1] : middle[1] + side]
    if psf.shape != light.shape:
        lost = 100 * (1 - psf.sum() / light.sum())
        steps.append(f"{'cut' if side < max(light.shape) else 'framed'} to {side}x{side} pixels"
                     + (f" ({lost:.1f} % of its light cut off)" if lost >= 0.05 else ""))  # fmt: skip
    if abs(psf.sum() - 1) > 1e-5:
        steps.append("normalised to the sum 1")
    return (psf / psf.sum()).astype(np.float32), steps
