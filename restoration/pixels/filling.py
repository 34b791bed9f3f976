"""Values for pixels that say nothing, from those around them: of a mask, or of a file that has none there."""

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate

BYTES_PER_PX = 42.0
"""Memory that filling takes, measured."""


def filled(channel: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """A channel (H, W) whose hidden pixels have smooth values that go on from those around them; integers are rounded.

    Each is the mean of the nearest that are seen: of those in the smallest square of a pyramid that has any.
    """
    if not hidden.any():
        return channel
    seen = torch.from_numpy(~hidden)[None, None].double()
    values = torch.from_numpy(np.where(hidden, 0, channel).astype(np.float64))[None, None]
    smooth = _grown(values, seen)[0, 0].numpy()
    smooth = np.rint(smooth) if channel.dtype.kind in "iu" else smooth
    return np.where(hidden, smooth.astype(channel.dtype), channel)


def _grown(values: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """(1, 1, H, W) with the values where they are not seen taken from a coarser image; `values` are 0 there."""
    if bool((seen > 0).all()) or max(values.shape[-2:]) == 1:
        return values / seen.clamp_min(1e-12)
    coarse_seen, coarse = (avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False) for image in (seen, values))
    coarse = _grown(coarse, coarse_seen)
    between = interpolate(coarse, size=values.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(seen > 0, values / seen.clamp_min(1e-12), between)
