"""Preparing a photograph for an inversion that believes in a torus."""

import math

import torch
from torch import Tensor


def pad_for_circular(y: Tensor, margin_px: int | tuple[int, int]) -> Tensor:
    """Add margins in which the image turns smoothly from each edge into the opposite one.

    A circular inversion sees the jump across the wrap as a sharp edge and rings; here the 2·margin pixels between the
    last and the first row (column) go from one to the other along half a cosine. Differentiable.

    Args:
        y: (..., H, W), data of a valid blur.
        margin_px: pixels added on each side, one number or (rows, columns); half a PSF is enough to stop the ringing.
    Returns:
        (..., H + 2·margin, W + 2·margin); y sits in the middle, unchanged.
    Raises:
        ValueError: a margin is negative.
    """
    margin_rows, margin_columns = (margin_px, margin_px) if isinstance(margin_px, int) else margin_px
    if min(margin_rows, margin_columns) < 0:
        raise ValueError(f"a margin adds pixels and is at least 0; got {margin_px}")
    columns = _bridge(y, margin_columns)
    return _bridge(columns.mT, margin_rows).mT


def _bridge(y: Tensor, margin: int) -> Tensor:
    if margin == 0:
        return y
    first, last = y[..., :1], y[..., -1:]
    way = torch.arange(1, 2 * margin + 1, device=y.device, dtype=y.dtype) / (2 * margin + 1)
    bridge = last + (first - last) * (0.5 - 0.5 * torch.cos(math.pi * way))
    return torch.cat([bridge[..., margin:], y, bridge[..., :margin]], dim=-1)
