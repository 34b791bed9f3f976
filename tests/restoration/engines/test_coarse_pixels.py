"""Lenses for which the pixels are coarse, cutoff above 0.25: restored, and never called good."""

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn.functional import avg_pool2d

import deepblur
from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.options import EngineChoice


@pytest.fixture(scope="module")
def recorded():
    """(72, 72), aliased as by a camera whose pixels are squares of 2 × 2 finer ones, with one bright pixel."""
    fine = ZernikeBlur(cutoff=0.15, psf_size=43)
    scene = torch.from_numpy(data.camera()[100:286, 150:336] / 255.0).float()[None, None]
    y = avg_pool2d(fine.forward(scene, torch.tensor([[0.05, -0.08, 0.06, 0.09, -0.04, 0.07, -0.1]])), 2)[0, 0].numpy()
    y[30, 40] = 3.0
    return y


def test_a_coarse_lens_is_restored_with_a_plain_word_and_no_good_verdict(recorded):
    found = deepblur.restore(recorded, method="spectral", na=0.75, wavelength_nm=520, pixel_nm=208)
    assert found.report.made_by["optics"]["cutoff"] == pytest.approx(0.3)
    assert found.psf.shape == (21, 21)
    (flag,) = (one for one in found.report.judged[0].flags if "the pixels are coarse" in one)
    assert "(its cutoff 0.3 is above 0.25): detail beyond them cannot come back" in flag
    assert found.report.verdict != "good"
    assert found.report.judged[0].remarks == ()  # a bright pixel may be a point of light
    assert np.isfinite(found.image).all()


def test_a_fine_lens_is_told_nothing_of_the_sort():
    engine, _ = choose_engine(EngineChoice(method="spectral", cutoff=0.25))
    assert engine.aliased() == ()


def test_coarse_pixels_are_not_simulated_on_pixels_as_coarse(tmp_path, capsys):
    from PIL import Image

    Image.fromarray(data.camera()[:96, :96]).save(tmp_path / "a.png")
    assert cli.main(["simulate", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--cutoff", "0.3"]) == 2
    assert "a cutoff above 0.25 passes detail finer than the pixels of a.png" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*.tif")) == []
