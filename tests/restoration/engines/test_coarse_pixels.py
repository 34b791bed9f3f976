"""Lenses for which the pixels are coarse, cutoff above 0.25: restored, and never called good."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage import data
from torch.nn.functional import avg_pool2d

import deepblur
from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.restoration.batch.simulate import simulate_file
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
    Image.fromarray(data.camera()[:96, :96]).save(tmp_path / "a.png")
    assert cli.main(["simulate", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--cutoff", "0.3"]) == 2
    assert "a cutoff above 0.25 passes detail finer than the pixels of a.png" in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*.tif")) == []


def test_with_binning_they_are_and_the_true_psf_is_what_the_camera_shows_of_a_point(tmp_path):
    """A point in the middle of a camera's pixel, in no noise: the binned image is the coarse PSF."""
    point = np.zeros((150, 150), np.float32)
    point[74, 74] = 9.0  # the middle of a square of 3 × 3, and of the 25th pixel of the camera beyond the border
    tifffile.imwrite(tmp_path / "point.tif", point, metadata={"axes": "YX"}, resolution=(1e4, 1e4), resolutionunit=3)
    lens = {"cutoff": 0.42, "noll": (4, 5, 6), "gamma": (0.1, -0.05, 0.08), "psf_size": 15, "binning": 3}
    truth = simulate_file(tmp_path / "point.tif", tmp_path / "out", **lens, read_std=0.0, scale="range:0,9")
    files = {kind: tifffile.imread(tmp_path / "out" / name) for kind, name in truth["files"].items()}
    blurry, psf = files["blurry"] / 9, files["true_psf"]
    assert truth["binning"] == 3
    assert blurry.shape == files["sharp"].shape == (35, 35)
    row, column = np.unravel_index(files["sharp"].argmax(), files["sharp"].shape)
    found = 9 * blurry[row - 7 : row + 8, column - 7 : column + 8]
    # nine points of the image in a pixel of the camera, where the PSF is integrated by 25 of Gauss
    assert np.abs(found / found.sum() - psf).max() < 0.03 * psf.max()
    with tifffile.TiffFile(tmp_path / "out" / truth["files"]["blurry"]) as file:
        assert file.pages[0].resolution == pytest.approx((1e4 / 3, 1e4 / 3))


@pytest.mark.parametrize(("cutoff", "binning", "words"), [
    (0.42, 0, "--binning is a number from 1 to 8; got 0"),
    (0.49, 1, "a cutoff above 0.25 passes detail finer than the pixels of a.png"),
])  # fmt: skip
def test_what_is_no_binning_is_refused(cutoff, binning, words, tmp_path, capsys):
    Image.fromarray(data.camera()[:96, :96]).save(tmp_path / "a.png")
    options = ["--cutoff", str(cutoff), "--binning", str(binning)]
    assert cli.main(["simulate", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err
    assert list((tmp_path / "out").glob("*.tif")) == []
