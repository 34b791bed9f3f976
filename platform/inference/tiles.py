"""Large images in overlapping tiles: bounded memory, and a result that hardly depends on where the tiles lie.

What a tile says near its inner edges is wrong, for it has not seen what lies beyond; that rim is thrown away, and where
two tiles are both right they are blended along half a cosine. Tiles start at multiples of `ALIGN_PX` and have the
image's own side modulo `ALIGN_PX`, so that the grids on which a U-Net halves the image are those of the whole image.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deepblur.operators import pad_for_circular

ALIGN_PX = 8
"""The coarsest grid of a DRUNet with four scales."""
OVERLAP_PX = 128
"""Of two neighbours: a quarter is thrown away on each side, the half between is blended."""
MIN_TILE_PX = 2 * OVERLAP_PX
FRAME_PX = OVERLAP_PX // 4
"""Every image is framed by so many pixels first, tiled or not: a network that closes an image to a torus joins a tile's
border to another one than the whole image's, and the frame keeps that away (it changes the border by 0.05 without)."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns of the image that a tile covers."""

    rows: slice
    columns: slice

    @property
    def middle(self) -> tuple[int, int]:
        """(row, column) of its middle, in pixels of the image without its frame."""
        row, column = ((side.start + side.stop) // 2 - FRAME_PX for side in (self.rows, self.columns))
        return row, column


@dataclass(frozen=True)
class Tiling:
    """How an image (H, W) is cut: one tile where it fits, else rows × columns of equal tiles."""

    size: tuple[int, int]
    tile: tuple[int, int]
    starts: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def of(cls, size: tuple[int, int], tile_px: int) -> "Tiling":
        """Equal tiles with sides of at most tile_px.

        Raises:
            ValueError: tile_px is below MIN_TILE_PX.
        """
        if tile_px < MIN_TILE_PX:
            raise ValueError(
                f"tiles need at least {MIN_TILE_PX} px, twice their overlap, or little of them would be kept; got "
                f"{tile_px}; allow more memory or larger tiles"
            )
        sides, starts = zip(*(_cut(side, tile_px) for side in size), strict=True)
        return cls(size, (sides[0], sides[1]), (starts[0], starts[1]))

    def __len__(self) -> int:
        return len(self.starts[0]) * len(self.starts[1])

    def __iter__(self) -> Iterator[Tile]:
        h, w = self.tile
        for row in self.starts[0]:
            for column in self.starts[1]:
                yield Tile(slice(row, row + h), slice(column, column + w))

    def weights(self, tile: Tile) -> Tensor:
        """(h, w) float32, the share of this tile in each of its pixels; over all tiles they sum to 1."""
        parts = []
        for axis, place in enumerate((tile.rows, tile.columns)):
            bumps = {start: _bump(start, self.tile[axis], self.size[axis]) for start in self.starts[axis]}
            total = torch.zeros(self.size[axis], dtype=torch.float64)
            for start, bump in bumps.items():
                total[start : start + self.tile[axis]] += bump
            parts.append(bumps[place.start] / total[place])
        return (parts[0][:, None] * parts[1]).float()


def framed_tiling(size: tuple[int, int], tile_px: int) -> Tiling:
    """The tiling of an image (H, W) with its frame."""
    return Tiling.of((size[0] + 2 * FRAME_PX, size[1] + 2 * FRAME_PX), tile_px)


def restore_in_tiles(y: Tensor, tile_px: int, restore: Callable[[Tensor, Tile], Tensor]) -> tuple[Tensor, int]:
    """(restored (H, W), number of tiles): `restore` maps a tile (h, w) and its place in the framed image to (h, w)."""
    framed = pad_for_circular(y, FRAME_PX)
    tiling = framed_tiling((y.shape[0], y.shape[1]), tile_px)
    joined = blend(tiling, lambda tile: restore(framed[tile.rows, tile.columns], tile))
    return joined[FRAME_PX : FRAME_PX + y.shape[0], FRAME_PX : FRAME_PX + y.shape[1]], len(tiling)


def blend(tiling: Tiling, restore: Callable[[Tile], Tensor]) -> Tensor:
    """(H, W): what `restore` makes of each tile, (h, w) each, joined without seams."""
    if len(tiling) == 1:
        return restore(next(iter(tiling)))
    joined: Tensor | None = None
    for tile in tiling:
        part = restore(tile)
        if joined is None:
            joined = part.new_zeros(tiling.size)
        joined[tile.rows, tile.columns] += part * tiling.weights(tile).to(part)
    assert joined is not None
    return joined


def _cut(side: int, tile_px: int) -> tuple[int, tuple[int, ...]]:
    """(side of the tiles, their starts) along one axis."""
    if side <= tile_px:
        return side, (0,)
    tile = tile_px - (tile_px - side) % ALIGN_PX  # side − tile is then a multiple of ALIGN_PX
    count = math.ceil((side - tile) / (tile - OVERLAP_PX)) + 1
    steps = (side - tile) // ALIGN_PX
    return tile, tuple(ALIGN_PX * round(i * steps / (count - 1)) for i in range(count))


def _bump(start: int, tile: int, side: int) -> Tensor:
    """(tile,) float64: 1 in the middle, 0 in the rim, half a cosine between; the image's own borders have no rim."""
    rim, ramp = OVERLAP_PX // 4, OVERLAP_PX // 2
    inward = torch.arange(tile, dtype=torch.float64) + 0.5

    def rise(distance: Tensor) -> Tensor:
        return 0.5 - 0.5 * torch.cos(math.pi * ((distance - rim) / ramp).clamp(0, 1))

    bump = torch.ones(tile, dtype=torch.float64)
    if start > 0:
        bump *= rise(inward)
    if start + tile < side:
        bump *= rise(tile - inward)
    return bump
