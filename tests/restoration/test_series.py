"""Series with empty or faded frames: each is treated as if it were alone, and what is empty is copied and named."""

import csv
import json

import numpy as np
import pytest
import tifffile
from micro_registry import tikhonov_model
from scipy.ndimage import gaussian_filter
from skimage import data

import deepblur
from deepblur import cli

FAST = ("--no-pictures",)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05, {"trained": {"eta_waves": 0.15}}))


@pytest.fixture(scope="module")
def frames():
    blurry = gaussian_filter(data.camera().astype(float), 1.5)
    return np.stack([(blurry[i * 10 : i * 10 + 64, 150:214] * 10 + 100) for i in range(4)]).astype(np.uint16)


def call(*arguments):
    return cli.main([str(a) for a in arguments])


def test_an_empty_frame_is_copied_and_named_and_the_others_are_restored(frames, tmp_path, model, capsys):
    series = frames.copy()
    series[2] = 100
    tifffile.imwrite(tmp_path / "lapse.tif", series, imagej=True, metadata={"axes": "TYX"})
    assert call("restore", tmp_path / "lapse.tif", "-o", tmp_path / "out", "--model", model) == 0
    said = capsys.readouterr().out
    assert "    t=2: every pixel has the value 100, so it was left as it is" in said
    restored = tifffile.imread(tmp_path / "out" / "lapse_restored.tif")
    assert (restored[2] == 100).all()
    report = json.loads((tmp_path / "out" / "lapse_report.json").read_text())
    assert [blur["verdict"] == "empty" for blur in report["blurs"]] == [False, False, True, False]
    assert report["verdict"] in ("good", "doubtful", "poor")
    assert report["blurs"][2]["gamma"][0]["waves"] is None
    whole = deepblur.restore(frames, axes="TYX", model=model)
    for i in (0, 1, 3):
        assert np.array_equal(restored[i], whole.image[i])
    psfs = tifffile.imread(tmp_path / "out" / "lapse_psf.tif")
    assert [bool(np.isnan(psf).all()) for psf in psfs] == [False, False, True, False]

    assert call("identify", tmp_path / "lapse.tif", "-o", tmp_path / "out", "--model", model) == 0
    said = capsys.readouterr().out
    assert "1 empty" in said
    assert "    t=2: every pixel has the value 100" in said
    with (tmp_path / "out" / "lapse_gamma.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["frame"] == "t=2"]
    assert [(row["waves"], row["verdict"]) for row in rows] == [("", "empty")] * 3


def test_arrays_keep_the_places_of_empty_frames_and_channels(frames, model):
    series = np.stack([frames, frames[::-1]], axis=1)
    series[0, 1], series[1] = 7, 9
    found = deepblur.restore(series, axes="TCYX", model=model)
    assert np.array_equal(found.image[0, 1], series[0, 1])
    assert np.array_equal(found.image[1], series[1])
    assert not np.array_equal(found.image[0, 0], series[0, 0])
    empty = [False, True, True, True, False, False, False, False]
    assert [bool(np.isnan(gamma).all()) for gamma in found.gamma] == empty
    assert [bool(np.isnan(psf).all()) for psf in found.psf] == empty
    assert found.report.remarks[0] == "t=0, channel 1: every pixel has the value 7, so it was left as it is"
    colours = np.stack([frames[0], frames[1], np.full_like(frames[0], 50)], axis=-1)
    found = deepblur.restore(colours, model=model)
    assert (found.image[..., 2] == 50).all()
    assert found.report.remarks == ("channel 2 is empty and was left as it is",)


@pytest.mark.parametrize("levels", [(5, 5), (5, 9)])
def test_a_recording_that_is_wholly_empty_is_refused_and_leaves_nothing(tmp_path, model, capsys, levels):
    series = np.stack([np.full((64, 64), level, np.uint16) for level in levels])
    tifffile.imwrite(tmp_path / "dark.tif", series, imagej=True, metadata={"axes": "TYX"})
    for command in ("restore", "identify"):
        assert call(command, tmp_path / "dark.tif", "-o", tmp_path / "out", "--model", model, *FAST) == 4
        assert "so there is nothing to restore; leave it out" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("dark*"))


def test_a_faded_frame_is_restored_as_if_it_were_alone(frames, model):
    rng = np.random.default_rng(0)
    series = np.stack([rng.poisson(frames[0] * share) + 100 for share in (1, 0.3, 0.1)]).astype(np.uint16)
    together = deepblur.restore(series, axes="TYX", model=model)
    for i, frame in enumerate(series):
        alone = deepblur.restore(frame, model=model)
        assert np.array_equal(together.image[i], alone.image)
        assert together.report.blurs[i].noise_std == alone.report.blurs[0].noise_std
        # the same stored values: what a frame lost in light it has lost afterwards
        assert together.image[i].mean() == pytest.approx(frame.mean(), rel=0.02)
    scale = together.report.as_json()["scale"]
    assert scale["white"] == max(blur.scale.white for blur in together.report.blurs)


def test_a_dim_channel_is_restored_as_if_it_were_alone(frames, model):
    channels = np.stack([frames[0], frames[1] // 10])
    together = deepblur.restore(channels, axes="CYX", model=model)
    for channel, restored in zip(channels, together.image, strict=True):
        assert np.array_equal(restored, deepblur.restore(channel, model=model).image)
