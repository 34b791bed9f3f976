"""The grid is fixed: everyone is measured on the same draws."""

from dataclasses import replace

import pytest
import torch
from micro_study import STUDY
from torch import nn
from torch.testing import assert_close

from deepblur.platform.arms.trained.measure import measure
from deepblur.platform.arms.trained.result import MEASURES
from deepblur.platform.data.sources import Data, DeadLeaves
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import cells
from deepblur.platform.evaluation.levels import Grid, NoiseLevel

DATA = Data(*((DeadLeaves(3, 80, seed=i),) for i in range(3)))
GRID = Grid(
    noise=(NoiseLevel("clean", 0.0, 0.0), NoiseLevel("low", 0.0, 0.01), NoiseLevel("high", 0.0, 0.02)),
    eta_waves=(0.05, 0.10),
    images=2,
    draws=3,
    crop_px=40,
)
DEGRADATION = STUDY.arm(operator="true", data=DATA, seed=0).identify.degradation


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(DATA.test, tmp_path_factory.mktemp("cache"), progress=False)


class Truth(nn.Module):
    """An identifier that was told."""

    def __init__(self, gamma):
        super().__init__()
        self.gamma = gamma

    def forward(self, y):
        return self.gamma


class Nothing(nn.Module):
    """A deblurrer that leaves the image as it is."""

    def forward(self, y, gamma, operator):
        return y


def test_cells_share_crops_directions_and_noise(store):
    found = list(cells(GRID, DEGRADATION, store))
    assert len(found) == 2 * 3 * 2
    by = {(c.image, c.noise.name, c.eta_waves): c.batch for c in found}
    image = found[0].image
    clean, low, high = (by[image, n, 0.05] for n in ("clean", "low", "high"))
    assert torch.equal(clean.sharp, high.sharp)
    assert_close(2 * (low.blurry - clean.blurry), high.blurry - clean.blurry, atol=1e-6, rtol=1e-4)
    assert_close(2 * by[image, "low", 0.05].gamma, by[image, "low", 0.10].gamma)


def test_the_grid_does_not_depend_on_how_much_of_it_is_asked_for(store):
    whole = list(cells(GRID, DEGRADATION, store))
    part = list(cells(replace(GRID, images=1, noise=GRID.noise[2:]), DEGRADATION, store))
    same = next(c for c in whole if (c.image, c.noise.name, c.eta_waves) == (part[0].image, "high", 0.05))
    assert torch.equal(same.batch.blurry, part[0].batch.blurry)


def test_measures_are_right_for_an_identifier_that_knows_and_a_deblurrer_that_does_nothing(store):
    cell = next(cells(GRID, DEGRADATION, store))
    table = measure(cell, Truth(cell.batch.gamma), Nothing(), DEGRADATION)
    assert set(MEASURES) <= set(table.columns)
    assert (table.psf_snr_db > 100).all()
    assert (table.gamma_rmse_waves == 0).all()
    assert (table.psnr_db == table.blurry_psnr_db).all()
    assert (table.ssim == table.blurry_ssim).all()
    assert table.draw.tolist() == [0, 1, 2]


def test_the_twin_counts_as_right(store):
    cell = next(cells(GRID, DEGRADATION, store))
    table = measure(cell, Truth(DEGRADATION.operator.twin(cell.batch.gamma)), Nothing(), DEGRADATION)
    assert (table.psf_snr_db > 100).all()
    assert (table.gamma_rmse_waves < 1e-6).all()


def test_images_too_small_for_the_grid_are_an_error(store):
    with pytest.raises(ValueError, match=r"no test image has the 314x314 pixels that crops of 300 px"):
        next(cells(replace(GRID, crop_px=300), DEGRADATION, store))
