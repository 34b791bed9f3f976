"""What keeps the light of images on a dark ground, whatever removes their blur.

A network or total variation may answer a bright structure with a dark rim below the camera's black, and make up for it
by too much light inside. Where most of an image is dark, a few iterations of Richardson–Lucy go on from what they made:
it knows no negative light, and every iteration keeps the light that the data show. `benchmarks/photometry.py` measures
what that does. Images without a dark ground, such as bright field, stay as they are: what is black there is not known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepblur.baselines import RESTORERS
from deepblur.baselines.nonblind import observe

Remove = Callable[[Tensor, tuple[int, int]], Tensor]
"""A tile (h, w) and its middle (row, column) in the image → the tile without its blur."""
DARK = 0.25
"""Between black and white: the middle value of an image on a dark ground lies below it."""
STEPS = 5
"""Iterations at most; the flux of points is right after one, and the image gains a little until some ten."""
SHARE = 0.1
"""Of the iterations that Richardson–Lucy would take from a flat image: less in noise, none in strong noise."""
_MIDDLE_PX = 1024


@dataclass(frozen=True)
class Removal:
    """A `Remove`, and the strength with which it works, for the report."""

    remove: Remove
    settings: dict[str, Any]

    def __call__(self, tile: Tensor, place: tuple[int, int]) -> Tensor:
        return self.remove(tile, place)


def on_dark_ground(y: Tensor) -> bool:
    """Whether most of an image (H, W), in units of its scale, is dark."""
    rows, columns = (max(1, side // _MIDDLE_PX) for side in y.shape)
    return float(torch.median(y[::rows, ::columns])) < DARK


def in_light(removal: Removal, y: Tensor, psf: Tensor) -> Removal:
    """A network or TV whose tiles Richardson–Lucy makes light above black, where the noise of y (H, W) lets it."""
    if removal.settings.get("restorer") not in ("deblur", "tv"):
        return removal
    known = observe(y, psf, None)
    steps = min(STEPS, round(SHARE * known.stop))
    if steps < 1:
        return removal
    sigma = float(known.noise * known.contrast)

    def restore(tile: Tensor, place: tuple[int, int]) -> Tensor:
        made = removal(tile, place)
        if tile.min() == tile.max() or not tile.max() > 0:  # no light to keep
            return made
        return RESTORERS["richardson_lucy"](tile, psf, noise_std=sigma, iterations=steps, start=made)

    return Removal(restore, removal.settings | {"light_iterations": steps})
