"""Large images in overlapping tiles: bounded memory, and a result that hardly depends on where the tiles lie.

What a tile says near its inner edges is wrong, for it has not seen what lies beyond; that rim is thrown away, and where
two tiles are both right they are blended along half a cosine. A U-Net halves the image on a grid, and DN's margins
shift that grid; so the framed image and all tiles have sides with the same margin, and tiles start on the grid.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from deepblur.operators import pad_for_circular
from deepblur.restoration.options import MIN_TILE_PX, check_tile

ALIGN_PX = 8
"""The coarsest grid of a DRUNet with four scales."""
OVERLAP_PX = MIN_TILE_PX // 2
"""Of two neighbours: a quarter is thrown away on each side, the half between is blended."""
FRAME_PX = OVERLAP_PX // 4
"""Every image is framed by at least so many pixels first, tiled or not: what closes an image to a torus joins a tile's
border to another one than the whole image's, and the frame keeps that away (it changes the border by 0.05 without)."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns of the image that a tile covers."""

    rows: slice
    columns: slice


@dataclass(frozen=True)
class Tiling:
    """How an image (H, W) is cut: one tile where it fits, else rows × columns of equal tiles."""

    size: tuple[int, int]
    tile: tuple[int, int]
    starts: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def of(cls, size: tuple[int, int], tile_px: int, psf_px: int) -> "Tiling":
        """Equal tiles of a framed image, with sides of at most tile_px.

        Args:
            size: (rows, columns), both what `framed_side` gives.
            psf_px: side of the PSF, on which DN's margins depend.
        Raises:
            ValueError: tile_px is below MIN_TILE_PX.
        """
        check_tile(tile_px)
        sides, starts = zip(*(_cut(side, tile_px, psf_px) for side in size), strict=True)
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


@dataclass(frozen=True)
class Framed:
    """An image in its frame, of which only tiles are ever made, and how it is tiled."""

    image: Tensor
    """(H, W), without the frame; it may lie on disk."""
    tiling: Tiling
    corner: tuple[int, int]
    """Where the image's first pixel lies in its frame."""

    @classmethod
    def of(cls, y: Tensor, tile_px: int, psf_px: int) -> "Framed":
        """Frame an image (H, W), which turns smoothly into its opposite edge there."""
        H, W = y.shape
        sides = [framed_side(side, psf_px) for side in (H, W)]
        margins = [_margin(side, psf_px) for side in (H, W)]
        return cls(y, Tiling.of((sides[0], sides[1]), tile_px, psf_px), (margins[0], margins[1]))

    def part(self, tile: Tile) -> Tensor:
        """(h, w), what a tile covers.

        The frame's lines follow from the image's first and last ones, so these and the tile's own are framed.
        """
        part, starts = self.image, []
        for axis, (side, margin) in enumerate(zip((tile.rows, tile.columns), self.corner, strict=True)):
            length = self.image.shape[axis]
            first, stop = max(0, side.start - margin), min(length, side.stop - margin)
            lines = [part.narrow(axis, 0, 1)] if first > 0 else []
            lines.append(part.narrow(axis, first, stop - first))
            if stop < length:
                lines.append(part.narrow(axis, length - 1, 1))
            part = torch.cat(lines, dim=axis)
            starts.append(side.start if first == 0 else margin + 1)
        framed = pad_for_circular(part, self.corner)
        h, w = self.tiling.tile
        return framed[starts[0] : starts[0] + h, starts[1] : starts[1] + w]

    def add(self, tile: Tile, part: Tensor, joined: Tensor) -> None:
        """Add the image's own pixels of a tile (h, w) to an image (H, W)."""
        places = []
        for side, first, length in zip((tile.rows, tile.columns), self.corner, self.image.shape, strict=True):
            start, stop = max(0, side.start - first), min(length, side.stop - first)
            places.append((slice(start, stop), slice(start + first - side.start, stop + first - side.start)))
        (rows, own_rows), (columns, own_columns) = places
        joined[rows, columns] += part[own_rows, own_columns]

    def middle(self, tile: Tile) -> tuple[int, int]:
        """(row, column) of a tile's middle, in pixels of the image."""
        places = zip((tile.rows, tile.columns), self.corner, strict=True)
        row, column = ((side.start + side.stop) // 2 - first for side, first in places)
        return row, column


def framed_side(side: int, psf_px: int) -> int:
    """The side of an image's frame: that of the image and FRAME_PX twice, and so far more that DN's margin is even."""
    framed = side + 2 * FRAME_PX
    while not _regular(framed, psf_px):
        framed += 1
    return framed


def restore_in_tiles(
    y: Tensor,
    tile_px: int,
    psf_px: int,
    restore: Callable[[Tensor, tuple[int, int]], Tensor],
    tick: Callable[[float], None] | None = None,
    joined: Tensor | None = None,
) -> tuple[Tensor, int]:
    """(restored (H, W), number of tiles).

    Args:
        y: (H, W).
        tile_px: largest side of a tile.
        psf_px: side of the PSF.
        restore: a tile (h, w) and its middle (row, column) in the image → (h, w).
        tick: called after each tile with the share of the image that it was; the shares sum to 1.
        joined: (H, W) zeros that become the restored image; default: new ones.
    """
    framed = Framed.of(y, tile_px, psf_px)
    joined = torch.zeros_like(y) if joined is None else joined
    for tile in framed.tiling:
        part = restore(framed.part(tile), framed.middle(tile))
        framed.add(tile, part * framed.tiling.weights(tile).to(part), joined)
        if tick is not None:
            tick(1 / len(framed.tiling))
    return joined, len(framed.tiling)


def restore_part(
    y: Tensor,
    part: tuple[slice, slice],
    tile_px: int,
    psf_px: int,
    restore: Callable[[Tensor, tuple[int, int]], Tensor],
    tick: Callable[[float], None],
    out: Tensor,
) -> int:
    """Restore rows and columns of y (H, W) into `out`, from as much about them as counts; number of tiles.

    Arguments as `restore_in_tiles`; places are those in y.
    """
    rows, columns = part
    down, right = (_around(side, length, psf_px) for side, length in zip(part, y.shape, strict=True))
    around, top, left = y[down, right], down.start, right.start

    def there(tile: Tensor, place: tuple[int, int]) -> Tensor:
        return restore(tile, (place[0] + top, place[1] + left))

    if around.shape == out.shape:
        return restore_in_tiles(around, tile_px, psf_px, there, tick, out.zero_())[1]
    joined, tiles = restore_in_tiles(around, tile_px, psf_px, there, tick)
    out.copy_(joined[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left])
    return tiles


def _around(part: slice, length: int, psf_px: int) -> slice:
    """A part of `length` lines with what counts about it, so that a U-Net's grid lies as in the whole."""
    reach = psf_px + OVERLAP_PX

    def offset(first: int, stop: int) -> int:
        return first - _margin(stop - first, psf_px)

    first, stop = max(0, part.start - reach), min(length, part.stop + reach)
    more = 4 * OVERLAP_PX
    starts, ends = range(first, max(-1, first - more), -1), range(stop, min(length, stop + more) + 1)
    for end, start in itertools.product(ends, starts):
        if (offset(start, end) - offset(0, length)) % ALIGN_PX == 0:
            return slice(start, end)
    return slice(0, length)


def _margin(side: int, psf_px: int) -> int:
    """Lines of the frame before the first one of the image."""
    return (framed_side(side, psf_px) - side + 1) // 2


def _regular(side: int, psf_px: int) -> bool:
    """Whether DN extends this side by exactly the least multiple of 4 that holds half a PSF, as it does other ones."""
    margin = math.ceil(psf_px // 2 / 4) * 4
    return side % ALIGN_PX == 0 and next_fast_len(side + 2 * margin, real=True) == side + 2 * margin


def _cut(side: int, tile_px: int, psf_px: int) -> tuple[int, tuple[int, ...]]:
    """(side of the tiles, their starts) along one axis."""
    if side <= tile_px:
        return side, (0,)
    tile = tile_px
    while not _regular(tile, psf_px) and tile > OVERLAP_PX + ALIGN_PX:
        tile -= 1
    count = math.ceil((side - tile) / (tile - OVERLAP_PX)) + 1
    least = math.ceil((side + (count - 1) * OVERLAP_PX) / count) + ALIGN_PX  # as starts are rounded
    tile = next((smaller for smaller in range(least, tile) if _regular(smaller, psf_px)), tile)  # they overlap no more
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
