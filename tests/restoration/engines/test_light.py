"""On a dark ground nothing restored is darker than dark, and points keep their flux; elsewhere nothing changes."""

import numpy as np
import pytest
import torch

from deepblur.baselines import reblur
from deepblur.baselines.nonblind import richardson_lucy, tv
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.light import Removal, in_light, on_dark_ground
from deepblur.restoration.engines.engine import IdentifiedBlur
from deepblur.restoration.engines.training_free import TrainingFreeEngine
from deepblur.restoration.frame import restore_frame
from deepblur.restoration.options import Options

LENS = ZernikeBlur()
GAMMA = torch.tensor([[0.05, -0.04, 0.03, 0.06, -0.05, 0.02, 0.04]])
PSF = LENS.psf(GAMMA)[0, 0]
PLACES = [(row, column) for row in (30, 71, 112) for column in (29, 70, 113)]
FLUXES = np.geomspace(0.5, 8, 9)


class Oracle(TrainingFreeEngine):
    def __init__(self):
        super().__init__("spectral", "tv", psf_size=31, eta_waves=0.15, cutoff=0.2)

    def identify(self, y):
        return IdentifiedBlur(PSF, GAMMA[0], torch.full((7,), 0.01), True)


@pytest.fixture(scope="module")
def stars():
    """Points on a dark ground, as float32 in units of the scale: black 0, and noise of 0.001."""
    scene = torch.zeros(176, 176)
    for (row, column), flux in zip(PLACES, FLUXES, strict=True):
        scene[row + 15, column + 15] = flux
    y = LENS.forward(scene[None, None], GAMMA)[0, 0]
    return (y + 0.01 + 0.001 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))).clamp(min=0)


def flux(image):
    """Light within 12 pixels of each point, the ground about it subtracted, over the true one."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    ratios = []
    for (row, column), true in zip(PLACES, FLUXES, strict=True):
        distance = np.hypot(rows - row, columns - column)
        ground = np.median(image[(distance > 14) & (distance < 19)])
        ratios.append((image[distance < 12] - ground).sum() / true)
    return np.array(ratios)


def test_tv_keeps_the_flux_of_points_and_goes_not_below_black(stars):
    alone = tv(stars, PSF).numpy()
    assert alone.min() < -0.02
    frame = restore_frame(Oracle(), stars[None].numpy(), Options())
    restored = frame.channels[0]
    assert restored.min() >= 0
    assert frame.blurs[0].restored_by[0]["light_iterations"] >= 1
    ratios = flux(restored)
    assert np.abs(ratios - 1).mean() < 0.03


def test_dark_rims_and_too_much_light_of_a_network_are_mended(stars):
    made = richardson_lucy(stars, PSF, iterations=20)
    crisp = made + 0.4 * (made - reblur(made, PSF)) - 0.004 * (reblur(made, PSF) > 0.02)
    assert crisp.min() < -0.02
    assert np.abs(flux((1.2 * crisp).numpy()) - 1).mean() > 0.1
    removal = Removal(lambda tile, place: 1.2 * crisp, {"restorer": "deblur"})
    mended = in_light(removal, stars, PSF)(stars, (0, 0)).numpy()
    assert mended.min() >= 0
    assert np.abs(flux(mended) - 1).mean() < 0.05


def test_what_has_no_dark_ground_or_is_linear_or_noisy_is_left_as_it_is(stars):
    bright = (1 - stars)[None].numpy()
    assert not on_dark_ground(1 - stars)
    assert on_dark_ground(stars)
    frame = restore_frame(Oracle(), bright, Options())
    assert "light_iterations" not in frame.blurs[0].restored_by[0]
    for restorer in ("wiener", "richardson-lucy"):
        removal = Removal(lambda tile, place: tile, {"restorer": restorer})
        assert in_light(removal, stars, PSF) is removal
    noisy = stars + 0.5 * torch.randn(stars.shape, generator=torch.Generator().manual_seed(1))
    removal = Removal(lambda tile, place: tile, {"restorer": "tv"})
    assert in_light(removal, noisy, PSF) is removal


def test_richardson_lucy_goes_on_from_where_it_stopped(stars):
    whole = richardson_lucy(stars, PSF, iterations=6)
    half = richardson_lucy(stars, PSF, iterations=3)
    on = richardson_lucy(stars, PSF, iterations=3, start=half)
    inside = (slice(20, -20), slice(20, -20))
    torch.testing.assert_close(on[inside], whole[inside], atol=2e-3, rtol=0.02)
