"""Dead leaves: pictures of discs that hide one another, with the scale invariance of natural images.

Discs fall on top of each other; radii have density r⁻³, so every octave of size covers the same area and the power
spectrum falls about as f⁻². Sharp edges at every scale are what a network must learn to give back, and the supply
needs no download.

Source: Lee, Mumford, Huang, IJCV 41, 2001; for training, Achddou, Gousseau, Ladjal, SSVM 2021.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_LAYERS = 6.0  # discs over a point on average; e⁻⁶ = 0.25 % of the points keep the background
_OVERSAMPLING = 2  # samples per pixel and axis: averaging them softens the edges as a pixel's area does
_CHUNK = 4_000_000  # samples tested at once, so that memory stays bounded


class _Discs(NamedTuple):
    """The discs that meet the frames, a flat list over the batch; lengths in samples. A higher rank lies on top."""

    frame: Tensor
    rank: Tensor
    row: Tensor
    col: Tensor
    radius: Tensor


def dead_leaves(
    n: int,
    size: tuple[int, int],
    rng: torch.Generator,
    *,
    min_radius_px: float = 1.5,
    max_radius_px: float | None = None,
    shading: float = 0.2,
) -> Tensor:
    """n pictures of occluding discs, drawn on rng's device.

    Args:
        n: number of pictures.
        size: (h, w) in pixels.
        rng: the only source of randomness.
        min_radius_px: smallest disc.
        max_radius_px: largest disc; a third of the shorter side by default.
        shading: largest change of grey from a disc's middle to its rim, along a random direction; 0 gives flat discs.
    Returns:
        (n, 1, h, w) float32 in [0, 1]; grey levels of the discs are uniform.
    Raises:
        ValueError: the radii are not 0 < min < max, or shading is negative.
    """
    h, w = size
    largest = min(h, w) / 3 if max_radius_px is None else max_radius_px
    if not 0 < min_radius_px < largest:
        raise ValueError(
            f"dead leaves need 0 < min_radius_px < max_radius_px; got {min_radius_px:g} and {largest:g} "
            f"for {h}x{w} pixels; enlarge the picture or lower min_radius_px"
        )
    if shading < 0:
        raise ValueError(f"shading is the size of a change of grey, at least 0; got {shading:g}")
    H, W = h * _OVERSAMPLING, w * _OVERSAMPLING
    per_frame, discs = _throw(n, (H, W), min_radius_px * _OVERSAMPLING, largest * _OVERSAMPLING, rng)
    top = _topmost(n, (H, W), discs, smallest=min_radius_px * _OVERSAMPLING)
    grey = _paint(top, per_frame, discs, shading, rng)
    return torch.nn.functional.avg_pool2d(grey, _OVERSAMPLING)


def _throw(n: int, size: tuple[int, int], low: float, high: float, rng: torch.Generator) -> tuple[int, _Discs]:
    """Positions and radii, for as many discs as cover each point _LAYERS times; those outside the frames are dropped.

    Returns the number of ranks (discs per frame before dropping) and the discs.
    """
    H, W = size
    mean_area = 2 * math.pi * math.log(high / low) / (low**-2 - high**-2)  # π E[r²] under the density r⁻³
    per_frame = math.ceil(_LAYERS * (H + 2 * high) * (W + 2 * high) / mean_area)
    u, v, s = torch.rand(3, n, per_frame, generator=rng, device=rng.device)
    radius = (low**-2 + u * (high**-2 - low**-2)).rsqrt()  # inverse of the cumulative distribution
    row, col = v * (H + 2 * high) - high, s * (W + 2 * high) - high
    meets = (row + radius > 0) & (row - radius < H) & (col + radius > 0) & (col - radius < W)
    frame, rank = meets.nonzero(as_tuple=True)
    return per_frame, _Discs(frame, rank, row[meets], col[meets], radius[meets])


def _topmost(n: int, size: tuple[int, int], discs: _Discs, smallest: float) -> Tensor:
    """(n, H, W) int32: 1 + rank of the disc that is seen at each sample, 0 where none is.

    Discs of like size are rasterised together on one stencil. "The highest rank wins" does not depend on the order
    of writing, so the picture is the same however the device schedules the writes.
    """
    H, W = size
    top = torch.zeros(n * H * W, dtype=torch.int32, device=discs.frame.device)
    half_octave = torch.floor(2 * torch.log2(discs.radius / smallest)).long()
    for k in half_octave.unique().tolist():
        members = (half_octave == k).nonzero()[:, 0]
        reach = math.ceil(discs.radius[members].max().item())
        stencil = torch.arange(-reach, reach + 1, device=top.device)
        for some in members.split(max(1, _CHUNK // len(stencil) ** 2)):
            rows = discs.row[some].floor().long()[:, None] + stencil
            cols = discs.col[some].floor().long()[:, None] + stencil
            dy2, dx2 = (rows - discs.row[some, None]).square(), (cols - discs.col[some, None]).square()
            inside = dy2[:, :, None] + dx2[:, None, :] <= discs.radius[some].square()[:, None, None]
            inside &= ((rows >= 0) & (rows < H))[:, :, None] & ((cols >= 0) & (cols < W))[:, None, :]
            disc, i, j = inside.nonzero(as_tuple=True)
            at = (discs.frame[some][disc] * H + rows[disc, i]) * W + cols[disc, j]
            top.scatter_reduce_(0, at, discs.rank[some][disc].int() + 1, "amax")
    return top.view(n, H, W)


def _paint(top: Tensor, per_frame: int, discs: _Discs, shading: float, rng: torch.Generator) -> Tensor:
    """(n, 1, H, W) grey levels of the discs that are seen: a level each, plus a ramp across the disc."""
    n, H, W = top.shape
    level, amount, turn = torch.rand(3, n, per_frame + 1, generator=rng, device=rng.device)  # slot 0: the background
    slot = (discs.frame, discs.rank + 1)
    slope = torch.zeros_like(level).index_put_(slot, shading * amount[slot] / discs.radius)
    angle = 2 * math.pi * turn
    down, right = slope * angle.sin(), slope * angle.cos()
    row, col = torch.zeros_like(level).index_put_(slot, discs.row), torch.zeros_like(level).index_put_(slot, discs.col)
    offset = level - down * row - right * col  # grey = offset + down·y + right·x

    seen = top.long().flatten(1)
    y = torch.arange(H, device=top.device)[:, None]
    x = torch.arange(W, device=top.device)
    grey = offset.gather(1, seen).view(n, H, W)
    grey = grey + down.gather(1, seen).view(n, H, W) * y + right.gather(1, seen).view(n, H, W) * x
    return grey.clamp(0, 1).unsqueeze(1)
