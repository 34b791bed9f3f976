"""Tiles: a partition of unity, on the networks' grid, whose result is that of the whole image."""

import pytest
import torch
from skimage import data
from torch.nn.functional import pad
from torch.testing import assert_close

from deepblur.nets import Deblurrer, DRUNet
from deepblur.operators import ZernikeBlur
from deepblur.platform.inference.tiles import (
    ALIGN_PX,
    FRAME_PX,
    MIN_TILE_PX,
    OVERLAP_PX,
    Tiling,
    blend,
    framed_tiling,
    restore_in_tiles,
)

SIZES = [(512, 512), (509, 430), (300, 1001), (257, 256), (100, 700)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile_px", [256, 320, 333])
def test_weights_sum_to_one_and_tiles_lie_on_the_grid(size, tile_px):
    tiling = Tiling.of(size, tile_px)
    total = sum(
        pad(tiling.weights(t), (t.columns.start, size[1] - t.columns.stop, t.rows.start, size[0] - t.rows.stop))
        for t in tiling
    )
    assert_close(total, torch.ones(size), rtol=0, atol=1e-6)
    for side, tile, starts in zip(size, tiling.tile, tiling.starts, strict=True):
        assert tile <= max(tile_px, 0)
        assert (side - tile) % ALIGN_PX == 0
        assert starts[0] == 0
        assert starts[-1] + tile == side
        assert all(start % ALIGN_PX == 0 for start in starts)
        assert all(b - a <= tile - OVERLAP_PX + ALIGN_PX for a, b in zip(starts, starts[1:], strict=False))


def test_an_image_that_fits_is_one_tile():
    assert len(Tiling.of((200, 256), 256)) == 1
    assert len(framed_tiling((200, 256), 256 + 2 * FRAME_PX)) == 1


def test_blending_unchanged_tiles_gives_the_image(draw):
    y = draw(400, 530)
    tiling = Tiling.of((400, 530), 256)
    assert len(tiling) == 12
    assert_close(blend(tiling, lambda t: y[t.rows, t.columns]), y, rtol=0, atol=1e-6)


def test_what_a_tile_says_of_its_rim_does_not_count(draw):
    y = draw(400, 530)
    rim = OVERLAP_PX // 4

    def spoil(tile):
        part = y[tile.rows, tile.columns].clone()
        if tile.rows.start:
            part[:rim] = 1e6
        if tile.columns.stop < 530:
            part[:, -rim:] = -1e6
        return part

    assert_close(blend(Tiling.of((400, 530), 256), spoil), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(448, 500), (431, 390)])
def test_a_deblurred_image_hardly_depends_on_its_tiles(size):
    operator = ZernikeBlur()
    gamma = torch.tensor([[0.1, -0.08, 0.05, 0.1, 0.0, -0.1, 0.05]])
    torch.manual_seed(0)
    network = Deblurrer(2, widths=(4, 6, 8, 8), blocks=1, residual=True).eval()
    assert isinstance(network.proxes[0], DRUNet)
    photo = torch.from_numpy(data.camera()[: size[0], : size[1]] / 255).float()
    y = operator.with_boundary("replicate").forward(photo[None, None], gamma)[0, 0]
    y = y + 0.01 * torch.randn(size)
    with torch.inference_mode():
        parts = [
            restore_in_tiles(y, side, lambda tile, place: network(tile[None, None], gamma, operator)[0, 0])
            for side in (MIN_TILE_PX, 1024)
        ]
    assert [tiles for _, tiles in parts] == [len(framed_tiling(size, MIN_TILE_PX)), 1]
    assert parts[0][1] > 1
    scale = float(parts[1][0].std())
    assert float((parts[0][0] - parts[1][0]).abs().max()) < 5e-3 * max(1.0, scale)


def test_tiles_that_are_all_overlap_are_refused():
    with pytest.raises(ValueError, match=r"at least 256 px.* got 200"):
        Tiling.of((512, 512), 200)
