"""Tiles: a partition of unity, on the networks' grid, whose result is that of the whole image."""

import itertools

import pytest
import torch
from skimage import data
from torch.nn.functional import pad
from torch.testing import assert_close

from deepblur.nets import Deblurrer, DRUNet
from deepblur.nets.deblurrer import margin_px
from deepblur.operators import ZernikeBlur, pad_for_circular
from deepblur.restoration.options import MIN_TILE_PX
from deepblur.restoration.tiles import (
    ALIGN_PX,
    FRAME_PX,
    OVERLAP_PX,
    Framed,
    Tiling,
    framed_side,
    restore_in_tiles,
)

PSF_PX = 31
SIZES = [(512, 512), (509, 430), (300, 1001), (257, 256), (100, 700)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile_px", [256, 320, 333])
def test_weights_sum_to_one_and_tiles_lie_on_the_grid(size, tile_px):
    size = tuple(framed_side(side, PSF_PX) for side in size)
    tiling = Tiling.of(size, tile_px, PSF_PX)
    total = sum(
        pad(tiling.weights(t), (t.columns.start, size[1] - t.columns.stop, t.rows.start, size[0] - t.rows.stop))
        for t in tiling
    )
    assert_close(total, torch.ones(size), rtol=0, atol=1e-6)
    for side, tile, starts in zip(size, tiling.tile, tiling.starts, strict=True):
        assert tile <= tile_px
        assert (side - tile) % ALIGN_PX == 0
        assert starts[0] == 0
        assert starts[-1] + tile == side
        assert all(start % ALIGN_PX == 0 for start in starts)
        assert all(b - a <= tile - OVERLAP_PX + ALIGN_PX for a, b in itertools.pairwise(starts))


def test_an_image_that_fits_is_one_tile():
    assert len(Framed.of(torch.zeros(192, 224), 288, PSF_PX).tiling) == 1


def test_blending_unchanged_tiles_gives_the_image(draw):
    y = draw(400, 530)
    same, tiles = restore_in_tiles(y, 256, PSF_PX, lambda part, place: part)
    assert tiles == 12
    assert_close(same, y, rtol=0, atol=1e-6)


def test_the_middles_are_told_in_pixels_of_the_image(draw):
    y = draw(400, 530)
    heights = torch.arange(400.0)[:, None].expand(400, 530)
    seen = []

    def look(part, place):
        seen.append((float(part[part.shape[0] // 2, part.shape[1] // 2]), place))
        return part

    restore_in_tiles(heights, 256, PSF_PX, look)
    assert all(value == place[0] for value, place in seen if 0 <= place[0] < 400)
    assert len({place for _, place in seen}) == len(seen)
    assert y.shape == heights.shape


def test_what_a_tile_says_of_its_rim_does_not_count(draw):
    y = draw(400, 530)
    rim = OVERLAP_PX // 4
    tiling = Framed.of(y, 256, PSF_PX).tiling
    tiles = iter(tiling)

    def spoil(part, place):
        part, tile = part.clone(), next(tiles)
        if tile.rows.start:
            part[:rim] = 1e6
        if tile.columns.stop < tiling.size[1]:
            part[:, -rim:] = -1e6
        return part

    assert_close(restore_in_tiles(y, 256, PSF_PX, spoil)[0], y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(400, 530), (257, 700), (300, 300)])
def test_a_tile_is_what_the_framed_image_has_there(draw, size):
    y = draw(*size)
    framed = Framed.of(y, 256, PSF_PX)
    whole = pad_for_circular(y, framed.corner)
    for tile in framed.tiling:
        assert_close(framed.part(tile), whole[tile.rows, tile.columns], rtol=0, atol=0)


@pytest.mark.parametrize("psf_px", [9, 31, 63])
def test_dn_extends_the_frame_and_all_tiles_alike(psf_px):
    sides = {framed_side(side, psf_px) for side in range(200, 700, 37)}
    sides |= {Tiling.of((side, side), 300, psf_px).tile[0] for side in sides if side > 300}
    assert all(side >= 200 + 2 * FRAME_PX or side <= 300 for side in sides)
    assert len({margin_px(side, psf_px) for side in sides}) == 1


@pytest.mark.parametrize("size", [(448, 400), (431, 390)])
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
            restore_in_tiles(y, side, PSF_PX, lambda tile, place: network(tile[None, None], gamma, operator)[0, 0])
            for side in (MIN_TILE_PX, 1024)
        ]
    assert parts[0][1] > 1
    assert parts[1][1] == 1
    assert float((parts[0][0] - parts[1][0]).abs().max()) < 2e-3


def test_tiles_that_are_all_overlap_are_refused():
    with pytest.raises(ValueError, match=r"at least 256 px.* got 200"):
        Tiling.of((512, 512), 200, PSF_PX)
