"""Which windows of an image its average spectrum is of: the whole of it, without what is dim, and not more than fit."""

import torch
from skimage import data
from torch.testing import assert_close

from deepblur.baselines import SpectralIdentifier, spectrum_model
from deepblur.baselines.estimate import richest
from deepblur.baselines.spectrum_model import Grid, average_spectrum, periodograms
from deepblur.operators import PoissonGaussian, ZernikeBlur
from deepblur.platform.evaluation.metrics import psf_snr_db

GAMMA = torch.tensor([[0.08, -0.11, 0.05, 0.10, -0.06, 0.12, -0.09]])


def blurry(side, noise):
    """Four photographs beside one another, seen through one lens."""
    photographs = (data.camera(), data.brick(), data.grass(), data.gravel())
    parts = [torch.from_numpy(image[:side, :side] / 255).float() for image in photographs]
    scene = torch.cat([torch.cat(parts[:2], 1), torch.cat(parts[2:], 1)])
    y = ZernikeBlur().forward(scene[None, None], GAMMA)
    return PoissonGaussian(0.0, noise)(y, torch.Generator().manual_seed(0))[0, 0]


def test_more_of_an_image_tells_more_of_its_blur():
    y, psf, identifier = blurry(320, 0.02), ZernikeBlur().psf(GAMMA), SpectralIdentifier(ZernikeBlur(), starts=16)
    part, whole = (float(psf_snr_db(identifier.estimate(each).psf[None, None], psf)) for each in (richest(y, 128), y))
    assert whole > part + 2


def test_dim_parts_do_not_count(draw):
    """Their spectrum is that of white noise, not that of the photographs."""
    bright = blurry(128, 0.0).double()
    y = torch.cat([bright, bright.mean() + 3e-3 * draw(len(bright), 300)], 1)
    grid = Grid(64, y, 0.3)
    alone, beside = (average_spectrum(each, grid, passband=0.4, noise_std=0.0).power.log() for each in (bright, y))
    difference = beside - alone
    assert (difference - difference.median()).abs().mean() < 0.3


def test_a_single_bright_spot_does_not_speak_for_the_image(draw):
    y = 0.5 + 0.01 * draw(256, 256)
    y[70:90, 70:90] += draw(20, 20)
    assert average_spectrum(y, Grid(64, y), passband=0.4, noise_std=0.0).looks.min() > 5


def test_of_a_large_image_the_windows_that_vary_most_are_taken(draw, monkeypatch):
    y = torch.full((260, 300), 0.5, dtype=torch.float64)
    y[64:160, 96:192] += 0.1 * draw(96, 96)
    assert len(periodograms(y, 32)) > 200
    monkeypatch.setattr(spectrum_model, "MOST_PX", 25 * 32**2)
    windows = periodograms(y, 32)
    assert len(windows) == 25
    assert_close(windows[:, 2:, 2:].mean((1, 2)), torch.full((25,), 0.01, dtype=y.dtype), rtol=0.35, atol=0)
