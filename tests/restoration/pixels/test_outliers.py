"""Hot and dead pixels are found and replaced, one or a column of them; what a lens can make is left as it is."""

import json

import numpy as np
import pytest
import tifffile
import torch
from micro_registry import tikhonov_model
from skimage import data

import deepblur
from deepblur import cli
from deepblur.operators import ZernikeBlur
from deepblur.restoration.pixels.outliers import replace_outliers


@pytest.fixture(scope="module")
def photo():
    blur = ZernikeBlur(noll=(4, 5))
    scene = torch.from_numpy(data.camera()[100:358, 120:378] / 255.0).float()
    y = blur.forward(scene[None, None], torch.tensor([[0.08, -0.05]]))[0, 0].numpy()
    return np.random.default_rng(0).poisson(2000 * y + 50).astype(np.uint16)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05))


def beads(cutoff, noise, gain, seed):
    """In-focus points at any place between the pixels, the sharpest thing that a lens of this cutoff can make."""
    rng = np.random.default_rng(seed)
    points, high = np.zeros((130 * 4, 130 * 4)), 4
    for row, column in rng.integers(8, 130 * 4 - 8, (40, 2)):
        points[row, column] = rng.uniform(0.05, 1)
    fine = ZernikeBlur(noll=(4,), cutoff=cutoff / high, psf_size=61)
    image = fine.forward(torch.from_numpy(points)[None, None], torch.zeros(1, 1).double())[0, 0].numpy()[::high, ::high]
    image = image / image.max()
    return image + rng.normal(0, 1, image.shape) * np.sqrt(noise**2 + gain * image.clip(0))


@pytest.mark.parametrize("cutoff", [0.1, 0.15, 0.2, 0.25])
def test_the_sharpest_points_of_light_are_no_outliers(cutoff):
    for seed, (noise, gain) in enumerate([(1e-4, 0), (1e-3, 0), (0.01, 0), (0.05, 0), (0.001, 0.001), (0.003, 0.01)]):
        image = beads(cutoff, noise, gain, seed)
        clean, places = replace_outliers(image)
        assert clean is image
        assert len(places) == 0
        counted = np.rint(4000 * image.clip(0) + 100).astype(np.uint16)
        assert len(replace_outliers(counted)[1]) == 0


def test_clean_images_are_returned_as_they_are(photo):
    noise = np.random.default_rng(1)
    for image in (
        photo, photo.astype(np.float32), -photo.astype(np.int32), data.camera()[:300, :300], data.cell()[:200, :200],
        data.immunohistochemistry()[..., 1], noise.normal(size=(200, 200)), noise.poisson(3, (200, 200)),
        noise.poisson(0.1, (200, 200)), noise.poisson(0.005, (200, 200)), np.full((20, 20), 7), np.eye(30) > 0.5,
    ):  # fmt: skip
        image = image.astype(np.uint8) if image.dtype == bool else image
        clean, places = replace_outliers(image)
        assert (clean is image, len(places)) == (True, 0)


@pytest.mark.parametrize("height", [1.5, 2, 5, 30])
def test_hot_and_dead_pixels_are_replaced_by_their_neighbours(photo, height):
    hot, dark = photo.copy(), (30, 200)
    places = [(0, 100), (40, 88), (41, 88), (100, 0), (120, 30), (150, 151), (227, 0)]
    for place in places:
        hot[place] = min(height * photo.max(), 65535)
    hot[dark] = 0
    clean, found = replace_outliers(hot)
    assert [tuple(place) for place in found] == sorted([*places, dark])
    assert np.abs(clean.astype(float) - photo).max() < 0.4 * photo.max()
    untouched = np.ones(photo.shape, bool)
    untouched[tuple(found.T)] = False
    assert np.array_equal(clean[untouched], photo[untouched])
    assert clean.dtype == photo.dtype


@pytest.mark.parametrize("value", [0, 6000])
def test_a_column_that_is_dead_or_hot_is_replaced(photo, value):
    bad = photo.copy()
    bad[:, 77] = value
    clean, places = replace_outliers(bad)
    assert len(places) == len(photo)
    assert (places[:, 1] == 77).all()
    assert np.abs(clean[:, 77].astype(float) - photo[:, 77]).mean() < 0.1 * photo.max()


def test_an_image_that_is_full_of_single_pixels_is_left_alone(photo):
    salt = photo.copy()
    salt[np.random.default_rng(0).random(photo.shape) < 0.05] = 60000
    assert len(replace_outliers(salt)[1]) == 0


def test_a_hot_pixel_changes_nothing_but_its_own_surroundings(photo, model, tmp_path, capsys):
    hot = photo.copy()
    hot[60, 88] = 65535
    clean, spoilt = (deepblur.restore(image, model=model) for image in (photo, hot))
    remark = "1 pixel stands out more sharply than any PSF and was replaced: (60, 88)"
    assert spoilt.report.remarks == (remark,)
    assert clean.report.remarks == ()
    assert np.array_equal(clean.psf, spoilt.psf)
    difference = np.abs(clean.image.astype(float) - spoilt.image)
    assert difference.max() < 0.1 * photo.max()
    assert difference[:, 130:].max() < 0.005 * photo.max()
    assert spoilt.report.verdict == clean.report.verdict

    series = np.stack([photo, hot, np.full_like(photo, 100)])
    series[2, 50, 60] = 9000  # an empty frame with a hot pixel is empty
    tifffile.imwrite(tmp_path / "series.tif", series, imagej=True, metadata={"axes": "TYX"})
    for command in ("restore", "identify"):
        words = [command, str(tmp_path / "series.tif"), "-o", str(tmp_path / "out"), "--model", model, "--no-pictures"]
        assert cli.main(words) == 0
        said = capsys.readouterr().out
        assert f"    t=1: {remark}" in said
        assert "    t=2: every pixel has the value 100, so it was left as it is" in said
    report = json.loads((tmp_path / "out" / "series_report.json").read_text())
    assert [blur["outliers"]["places"] for blur in report["blurs"]] == [[], [[60, 88]], [[50, 60]]]
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "series_restored.tif")[2], series[2])
