"""Pixels that no lens can have made: hot, dead, struck by a cosmic ray, a single one or a column of them.

No PSF within the limit of the cutoff, 0.25 cycles per pixel, is narrower than two pixels: in the image of a point, even
in focus, the third brightest of the eight neighbours still has 0.4 of the peak or more, wherever the point lies between
the pixels, and whatever overlaps with it only adds light. A pixel whose third neighbour is below `SHARPEST` of it, both
above their surroundings, is the camera's, if noise and structure about it are far smaller. One such pixel would set the
scale, whiten the spectrum and ring over half a PSF, so it is replaced by its neighbours first.
"""

import numpy as np
import torch
from scipy.ndimage import maximum_filter, rank_filter

from deepblur.operators import noise_std_of

SHARPEST = 0.3
"""Of a pixel's height above its surroundings: a third neighbour below it is below that of any PSF."""
NOISES = 10.0
"""Deviations of the noise by which an outlier stands out at least."""
SPREADS = 5.0
"""Ranges of the values about it, without the four largest and smallest, by which it stands out at least."""
TAIL = 6.0
"""Times the height that one pixel in a hundred stands out: images full of sharp things have no outliers."""
LEAST = 0.03
"""Of the range of the values: a lower pixel moves neither scale nor spectrum."""
MOST = 0.002
"""Share of the pixels: where more stand out, that is what the image looks like."""
MOST_LINES = 0.03
"""The same of the columns, and of the rows."""
LINE = 0.2
"""Of a column or row: where more of its pixels stand out, all of it is the camera's."""
_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
_REACH = 2


def replace_outliers(channel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(channel (H, W) with its outliers replaced by the mean of their neighbours, their places (N, 2)).

    The channel itself is returned where it has none. Both light and dark ones; integers are rounded.
    """
    values: np.ndarray = np.asarray(channel, np.float32 if channel.dtype.itemsize <= 2 else np.float64)
    if min(values.shape) < 2 * _REACH + 1 or values.min() == values.max():
        return channel, np.empty((0, 2), int)
    noise = float(noise_std_of(torch.from_numpy(values)))
    low, high = (float(np.quantile(values, share)) for share in (0.001, 0.999))
    floor = max(NOISES * noise, LEAST * (high - low))
    mask = _light(values, floor) | _light(np.negative(values), floor)
    columns, rows = mask.mean(0) > LINE, mask.mean(1) > LINE
    alone = mask & ~columns & ~rows[:, None]
    if not mask.any() or alone.mean() > MOST or max(columns.mean(), rows.mean()) > MOST_LINES:
        return channel, np.empty((0, 2), int)
    mask |= columns | rows[:, None]
    places = np.argwhere(mask)
    clean = channel.copy()
    for row, column in places:
        clean[row, column] = _between(values, mask, row, column)
    return clean, places


def _light(values: np.ndarray, floor: float) -> np.ndarray:
    """(H, W) bool: pixels that stand out above their surroundings more sharply than any PSF lets them."""
    third = rank_filter(values, -3, footprint=_NEIGHBOURS, mode="mirror")
    # Nobody knows what lies beyond the border: there the largest neighbour must be low.
    third[0], third[-1] = _largest(values[:2])[0], _largest(values[-2:])[-1]
    third[:, 0], third[:, -1] = _largest(values[:, :2])[:, 0], _largest(values[:, -2:])[:, -1]
    above = values - third
    floor = max(floor, TAIL * float(np.quantile(above, 0.99)))
    mask = np.zeros(values.shape, bool)
    rows, columns = np.nonzero(above > floor)
    if not len(rows) or len(rows) > MOST_LINES * values.size:
        return mask
    padded = np.pad(values, _REACH, mode="reflect")
    near = np.stack([padded[rows + i, columns + j] for i in range(5) for j in range(5)], axis=1)
    ring = [5 * i + j for i in range(5) for j in range(5) if i in (0, 4) or j in (0, 4)]
    surroundings = np.median(near[:, ring], axis=1)
    others = np.sort(np.delete(near, 12, axis=1), axis=1)
    spread = others[:, 19] - others[:, 4]
    height = values[rows, columns] - surroundings
    sharp = height - np.maximum(third[rows, columns] - surroundings, 0) / SHARPEST
    mask[rows, columns] = sharp > np.maximum(floor, SPREADS * spread)
    return mask


def _largest(values: np.ndarray) -> np.ndarray:
    return maximum_filter(values, footprint=_NEIGHBOURS, mode="mirror")


def _between(values: np.ndarray, mask: np.ndarray, row: int, column: int) -> float:
    """The mean of the nearest pixels that are none themselves."""
    for reach in (1, 2, 3):
        part = (slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1))
        good = values[part][~mask[part]]
        if len(good):
            return float(np.median(good))
    return float(np.median(values))
