"""What nobody says of the optics is read from the image, and what it contradicts is said."""

import json

import numpy as np
import pytest
import tifffile
import torch
from micro_registry import tikhonov_model
from skimage import data

import deepblur
from deepblur import cli
from deepblur.operators import PoissonGaussian, ZernikeBlur
from deepblur.operators.pupil import psf_px
from deepblur.restoration.channels import Channels
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.engines.optics import Quantity
from deepblur.restoration.images.io import recording_of
from deepblur.restoration.known_optics import with_cutoffs_read
from deepblur.restoration.options import EngineChoice
from deepblur.restoration.scale import Scaling

ALL = (slice(None), slice(None))


def blurry(cutoff, noise=0.0, side=144):
    blur = ZernikeBlur(cutoff=cutoff, psf_size=psf_px(cutoff))
    side += blur.psf_size - 1
    scene = torch.from_numpy(data.camera()[100 : 100 + side, 120 : 120 + side] / 255.0).float()[None, None]
    y = blur.forward(scene, torch.tensor([[0.05, -0.08, 0.06, 0.09, -0.04, 0.07, -0.1]]))
    return PoissonGaussian(0.0, noise)(y, torch.Generator().manual_seed(0))[0, 0].numpy()


def read(image, choice):
    frame = image if image.ndim == 3 else image[None]
    recording = recording_of(frame, "CYX")
    scales = Scaling.of(recording, "range:0,1").of_frame(frame, True)
    engine, _ = choose_engine(choice)
    return with_cutoffs_read(engine, torch.from_numpy(frame), Channels(), scales, ALL)


@pytest.fixture(scope="module")
def found():
    return deepblur.restore(blurry(0.15), method="spectral")


def test_what_nobody_says_is_read_from_the_image(found):
    optics = found.report.made_by["optics"]
    (known,) = optics["known"]
    assert known["cutoff"]["from"] == "image"
    assert known["cutoff"]["value"] == pytest.approx(0.15, rel=0.05)
    assert 0 < known["cutoff"]["std"] < 0.01
    assert optics["cutoff"] == known["cutoff"]["value"]
    assert not optics["cutoff_assumed"]
    assert found.report.cutoff.startswith("cutoff 0.15")
    assert " ± " in found.report.cutoff
    assert found.report.cutoff.endswith(" (read from the image)")
    assert found.psf.shape == (psf_px(optics["cutoff"]),) * 2
    assert "was assumed" not in " ".join(found.report.judged[0].flags)


def test_with_nothing_told_and_nothing_read_no_verdict_is_good():
    report = deepblur.restore(blurry(0.2, 0.02), method="spectral").report
    assert report.made_by["optics"]["known"] == [{"cutoff": {"value": 0.2, "from": "assumed"}}]
    assert report.verdict != "good"
    assert any("was assumed" in flag for flag in report.judged[0].flags)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [(0.1, "the image has power beyond 0.2 cycles per pixel, where a lens of the cutoff 0.1 (told) passes no light: by "
           "its spectrum the cutoff is at least 0.1"),
     (0.22, "the spectrum of the image ends as that of a lens of the cutoff 0.15, far below the cutoff 0.22 (told): "
            "check NA")],
)  # fmt: skip
def test_a_told_cutoff_that_the_spectrum_contradicts_is_said(told, sentence):
    report = deepblur.restore(blurry(0.15), method="spectral", cutoff=told).report
    assert any(flag.startswith(sentence) for flag in report.judged[0].flags)
    assert report.verdict != "good"


def test_what_is_told_counts_and_the_right_one_is_not_contradicted():
    engine, _ = choose_engine(EngineChoice(method="spectral", cutoff=0.15))
    assert engine.contradicted(torch.from_numpy(blurry(0.15))) == ()
    image = blurry(0.15)
    told = read(image, EngineChoice(method="spectral", cutoff=0.22))
    assert told.known.cutoff == Quantity(0.22, "told")


def test_each_channel_is_read_for_itself_and_one_that_says_nothing_is_assumed():
    shape = blurry(0.2).shape
    noise = np.random.default_rng(0).normal(0.5, 0.1, shape).astype(np.float32)
    choice = EngineChoice(method="spectral")
    engine, _ = choose_engine(choice)
    engine = engine.adapted(engine.known if isinstance(engine.known, tuple) else (engine.known,) * 2)
    two = np.stack([blurry(0.15), noise])
    scales = Scaling.of(recording_of(two, "CYX"), "range:0,1").of_frame(two, False)
    both = with_cutoffs_read(engine, torch.from_numpy(two), Channels(shared=False), scales, ALL)
    first, second = (both.of_channel(k) for k in (0, 1))
    assert first.known.cutoff.origin == "image"
    assert second.known.cutoff is None
    assert first.psf_size == second.psf_size
    assert (first.assumed(2), len(second.assumed(2))) == ((), 1)


def test_an_image_that_its_psf_would_not_fit_and_a_saturated_one_are_not_read():
    choice = EngineChoice(method="spectral")
    small = blurry(0.15)[:40]
    assert read(small, choice).known.cutoff is None
    frame = blurry(0.15)[None].clip(0, 0.6) * 255
    recording = recording_of(frame.astype(np.uint8), "CYX")
    scales = Scaling.of(recording, "range:0,153").of_frame(recording.frame(0), True)
    engine, _ = choose_engine(choice)
    assert scales[0].saturated > 1e-3
    assert with_cutoffs_read(engine, torch.from_numpy(frame / 153), Channels(), scales, ALL) is engine


def test_a_network_of_one_cutoff_reads_none(tmp_path):
    engine = read(blurry(0.15), EngineChoice(model=str(tikhonov_model(tmp_path / "model", 0.05))))
    assert engine.known.cutoff is None


def test_the_command_says_where_the_cutoff_comes_from(tmp_path, capsys):
    stored = (255 * blurry(0.15).clip(0, 1)).round().astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    arguments = ["restore", tmp_path / "a.tif", "-o", tmp_path / "out", "--method", "spectral", "--no-pictures"]
    assert cli.main([str(one) for one in arguments]) == 0
    said = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "a_report.json").read_text())
    (known,) = report["optics"]["known"]
    assert known["cutoff"]["from"] == "image"
    assert f"cutoff {known['cutoff']['value']:.4g} ± {known['cutoff']['std']:.2g} (read from the image)" in said
