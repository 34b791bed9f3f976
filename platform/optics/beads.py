"""Beads in a stack: where they are, to a fraction of a pixel, and which of them can be trusted.

A bead is rejected for one reason, the first that holds: dim, truncated by the border, saturated, overlapping with a
neighbour, unlike the others (two beads in one, dust). Counts and positions of the rejected stay, for the picture.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.special import spherical_jn
from skimage.feature import peak_local_max

from deepblur.operators import noise_std_of
from deepblur.platform.optics.stack import BeadStack

REASONS = ("dim", "truncated", "saturated", "overlapping", "unlike")
MARGIN_PX = 8
"""Of the patches while they are shifted, so that nothing wraps around into them."""
_SMOOTH_PX = 1.5
"""Of the filter that finds beads: about the size of a diffraction-limited spot."""
_CENTROID_PX = 2.0
_FIND_SNR = 6.0
_NEIGHBOUR = 0.2
"""A peak of this share of the bead's own is another bead; fainter ones are its rings."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What counts as a good bead."""

    psf_size: int = 31
    """Side of the patches, odd."""
    min_snr: float = 20.0
    """Least peak over background in units of the noise, in the sharpest plane."""
    likeness: float = 0.6
    """Least correlation of a bead with the median bead, both in their sharpest plane."""

    def __post_init__(self) -> None:
        if self.psf_size < 5 or self.psf_size % 2 == 0:
            raise ValueError(f"the side of a PSF is odd and at least 5 pixels; got {self.psf_size}")


@dataclass(frozen=True, eq=False)
class Beads:
    """The beads of one stack."""

    centres: np.ndarray
    """(N, 2) rows and columns, pixels, of the beads that are kept."""
    sharpest: np.ndarray
    """(N,) the plane in which each is sharpest."""
    patches: np.ndarray
    """(Z, N, h, w) float32: every plane of every bead, centred, without background, in counts."""
    noise: float
    """Standard deviation of the noise, in counts."""
    rejected: dict[str, np.ndarray]
    """(M, 2) centres by reason."""
    projection: np.ndarray
    """(H, W) the brightest of all planes over the background, for pictures."""

    def __len__(self) -> int:
        return len(self.centres)

    def counts(self) -> str:
        """What was found, for people."""
        lost = ", ".join(f"{len(self.rejected[r])} {r}" for r in REASONS if len(self.rejected[r]))
        return f"{len(self)} beads kept" + (f"; rejected: {lost}" if lost else "")

    def tally(self) -> dict[str, int]:
        """How many were kept, and how many rejected for each reason."""
        return {"kept": len(self), **{reason: len(found) for reason, found in self.rejected.items()}}

    def subset(self, chosen: np.ndarray) -> "Beads":
        """The beads of these indices."""
        return Beads(self.centres[chosen], self.sharpest[chosen], self.patches[:, chosen], self.noise, self.rejected,
                     self.projection)  # fmt: skip


def find_beads(stack: BeadStack, finding: Finding | None = None) -> Beads:
    """Finds, judges, cuts out and centres the beads of a stack.

    The centre is that of the sharpest plane and serves all planes, so that what moves with focus (coma, a tilted axis)
    stays in the PSFs. It may be empty: the caller knows how many it needs.
    """
    finding = finding or Finding()
    light = stack.planes - background(stack.planes, finding.psf_size)
    noise = float(noise_std_of(torch.from_numpy(light)).median())
    smooth = ndimage.gaussian_filter(light, (0, _SMOOTH_PX, _SMOOTH_PX))
    projection = smooth.max(0)
    # the filter averages white noise over 4πσ² pixels
    least = max(
        _FIND_SNR * noise / np.sqrt(4 * np.pi * _SMOOTH_PX**2), 0.02 * float(projection.max())
    )  # of a hundredth, no PSF can be read
    peaks = peak_local_max(projection, min_distance=2, threshold_abs=least, exclude_border=False)
    heights = projection[tuple(peaks.T)]
    peaks, heights, crowded = _separate(peaks, heights, finding.psf_size)
    planes = smooth[:, peaks[:, 0], peaks[:, 1]].argmax(0)
    reasons = np.full(len(peaks), "", dtype=object)
    half = finding.psf_size // 2
    for n, ((row, column), plane) in enumerate(zip(peaks, planes, strict=True)):
        core = stack.planes[:, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        reach = half + MARGIN_PX
        inside = reach <= row < stack.field_px[0] - reach and reach <= column < stack.field_px[1] - reach
        peak = light[plane, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].max()
        if peak < finding.min_snr * noise:
            reasons[n] = "dim"
        elif not inside:
            reasons[n] = "truncated"
        elif core.max() >= stack.ceiling:
            reasons[n] = "saturated"
        elif crowded[n]:
            reasons[n] = "overlapping"
    good = np.flatnonzero(reasons == "")
    centres = np.array([_centroid(light[planes[n]], peaks[n]) for n in good]).reshape(-1, 2)
    patches = np.stack([_patches(light, c, finding.psf_size) for c in centres], 1) if len(good) else _none(light, half)
    if len(good) >= 3:
        likeness = _likeness(patches[planes[good], np.arange(len(good))])
        reasons[good[likeness < finding.likeness]] = "unlike"
        kept = likeness >= finding.likeness
        good, centres, patches = good[kept], centres[kept], patches[:, kept]
    rejected = {reason: peaks[reasons == reason].astype(float) for reason in REASONS}
    return Beads(centres, planes[good], patches, noise, rejected, projection)


def background(planes: np.ndarray, psf_size: int) -> np.ndarray:
    """(Z, H, W): the light between the beads, smooth over several PSFs: medians of blocks, interpolated."""
    H, W = planes.shape[1:]
    blocks = [max(1, side // (4 * psf_size)) for side in (H, W)]
    rows, columns = (np.array_split(np.arange(side), n) for side, n in zip((H, W), blocks, strict=True))
    medians = np.array([[[np.median(plane[r[0] : r[-1] + 1, c[0] : c[-1] + 1]) for c in columns] for r in rows]
                        for plane in planes])  # fmt: skip
    at = [np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1) for side, n in zip((H, W), blocks, strict=True)]
    grid = np.meshgrid(*at, indexing="ij")
    smooth = [ndimage.map_coordinates(m, grid, order=1, mode="nearest") for m in medians]
    return np.stack(smooth).astype(np.float32)


def shifted(patches: np.ndarray, by: np.ndarray) -> np.ndarray:
    """(..., n, n) moved by (rows, columns), a fraction of a pixel, by Fourier interpolation: exact below Nyquist."""
    rows, columns = (np.fft.fftfreq(n) for n in patches.shape[-2:])
    phase = np.exp(-2j * np.pi * (rows[:, None] * by[0] + columns * by[1]))
    return np.fft.ifft2(np.fft.fft2(patches) * phase).real.astype(patches.dtype)


def bead_transfer(n: int, diameter_px: float) -> np.ndarray:
    """(n, n) transfer function of a ball's projection, on the frequencies of an FFT: 3 j₁(s)/s, s = π d |f|."""
    s = np.pi * diameter_px * np.hypot(np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None])
    far = s > 1e-6
    return np.where(far, 3 * spherical_jn(1, s) / np.where(far, s, 1), 1.0)


def centred_patches(stack: np.ndarray, psf_size: int) -> tuple[np.ndarray, int]:
    """(Z, h, w) of one bead in the middle of a stack (Z, n, n) without background, and its sharpest plane.

    The rule by which `find_beads` centres, for PSFs that need not be found.
    """
    middle = stack.shape[-1] // 2
    sharpest = int(stack[:, middle - 2 : middle + 3, middle - 2 : middle + 3].max((1, 2)).argmax())
    start = np.array(np.unravel_index(stack[sharpest].argmax(), stack.shape[1:]))
    centre = _centroid(stack[sharpest], start)
    moved = shifted(stack, np.array([middle, middle]) - centre)
    reach = psf_size // 2
    return moved[:, middle - reach : middle + reach + 1, middle - reach : middle + reach + 1], sharpest


def _separate(peaks: np.ndarray, heights: np.ndarray, psf_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Without the rings of brighter beads; and for each bead whether another one's patch reaches into its own."""
    order = np.argsort(-heights)
    peaks, heights = peaks[order], heights[order]
    distance = np.abs(peaks[:, None] - peaks[None]).max(-1)
    near = (distance < psf_size // 2 + 1) & ~np.eye(len(peaks), dtype=bool)
    weak = heights[:, None] < _NEIGHBOUR * heights[None]  # [n, m]: n is weak beside m
    ring = (near & weak).any(1)
    peaks, heights = peaks[~ring], heights[~ring]
    distance = np.abs(peaks[:, None] - peaks[None]).max(-1)
    crowded = ((distance < psf_size) & ~np.eye(len(peaks), dtype=bool)
               & (heights[None] >= _NEIGHBOUR * heights[:, None])).any(1)  # fmt: skip
    return peaks, heights, crowded


def _centroid(plane: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(2,) the Gaussian-weighted centroid, moved until it is its own centre."""
    centre = start.astype(float)
    reach = 4
    for _ in range(50):
        row, column = np.round(centre).astype(int)
        rows = np.arange(max(0, row - reach), min(plane.shape[0], row + reach + 1))
        columns = np.arange(max(0, column - reach), min(plane.shape[1], column + reach + 1))
        r, c = np.meshgrid(rows, columns, indexing="ij")
        weight = plane[r, c] * np.exp(-((r - centre[0]) ** 2 + (c - centre[1]) ** 2) / (2 * _CENTROID_PX**2))
        total = weight.sum()
        if total <= 0:
            return start.astype(float)
        # the weight pulls the centroid half way back to where it was: a double step makes up for it
        moved = 2 * (np.array([(weight * r).sum(), (weight * c).sum()]) / total - centre)
        centre = centre + np.clip(moved, -1, 1)
        if np.abs(moved).max() < 1e-3:
            break
    return centre if np.abs(centre - start).max() <= 2 else start.astype(float)


def _patches(light: np.ndarray, centre: np.ndarray, psf_size: int) -> np.ndarray:
    """(Z, h, w)."""
    whole = np.round(centre).astype(int)
    reach = psf_size // 2 + MARGIN_PX
    cut = light[:, whole[0] - reach : whole[0] + reach + 1, whole[1] - reach : whole[1] + reach + 1]
    return shifted(cut, whole - centre)[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _none(light: np.ndarray, half: int) -> np.ndarray:
    return np.zeros((len(light), 0, 2 * half + 1, 2 * half + 1), np.float32)


def _likeness(patches: np.ndarray) -> np.ndarray:
    """(N,) correlation of each patch (h, w) with the median patch."""
    flat = patches.reshape(len(patches), -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-30)
    typical = np.median(flat, axis=0)
    return flat @ (typical / np.linalg.norm(typical).clip(1e-30))
