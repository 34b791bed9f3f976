"""Which frequencies of an aliased image are compared."""

import pytest
import torch

from deepblur.baselines.spectral_objective import Objective
from deepblur.baselines.spectrum_model import HIGHEST, Grid, average_spectrum, unaliased
from deepblur.operators import ZernikeBlur


def test_what_others_fold_over_to_is_left_out_and_nothing_of_a_fine_image():
    limits = [unaliased(cutoff) for cutoff in (0.1, 0.25, 0.3, 0.4, 0.5)]
    assert limits[:2] == [HIGHEST, HIGHEST]
    assert limits == sorted(limits, reverse=True)
    assert 0.35 < limits[-1] < limits[-2] < HIGHEST
    grid = Grid(32, torch.zeros(1), limits[-1])
    assert grid.radius[grid.keep].max() < limits[-1]


@pytest.mark.parametrize(("cutoff", "std"), [(0.25, 0.3), (0.3, 1.0)])
def test_noise_measured_in_an_aliased_image_may_be_signal(cutoff, std):
    y = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    family = ZernikeBlur(cutoff=cutoff, psf_size=21)
    grid = Grid(32, y, unaliased(cutoff))
    objective = Objective(family, 0.15, grid, average_spectrum(y, grid, passband=2 * cutoff))
    assert objective.noise_log_std == std
    free = objective.starts(1, torch.Generator().manual_seed(0))
    moved = free.clone()
    moved[:, -1] += 1e-3
    slope = (objective(moved) - objective(free)) / 1e-3
    assert torch.allclose(slope, objective.gauss_newton(free)[1][:, -1], atol=0.05, rtol=0.05)
