"""Flags outside of the trained range, the residual's verdict on right and wrong PSFs, and the verdict of all."""

import math
import re

import pytest
import torch
from skimage import data

from deepblur.operators import ZernikeBlur
from deepblur.platform.models.readings import Identification
from deepblur.platform.models.reliability import (
    LARGEST_WHITENESS,
    Residual,
    largest_whiteness,
    residual_of,
    verdict_of,
)
from deepblur.platform.models.trained_range import range_flags

LENS = ZernikeBlur(psf_size=15)
CARD = {"trained": {"eta_waves": 0.1, "gain": [0.0, 0.0], "read_std": [0.0, 0.02], "crop_px": 64}}
Y = torch.full((1, 1, 80, 90), 0.5)


def found(gamma=0.0, std=0.01, calibrated=True):
    return Identification(torch.full((7,), gamma), torch.full((7,), std), calibrated, 8)


def flags(card=CARD, y=Y, identification=None, noise_std=0.01, saturated=0.0):
    return range_flags(card, LENS, y, identification or found(), noise_std, saturated)


def test_an_image_like_those_in_training_has_no_flag():
    assert flags() == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"noise_std": 0.05}, r"the noise, 0.05 of the full scale, is above the 0.02"),
        ({"identification": found(0.12)}, r"larger than the 0.1 waves .* Noll 4 \(\+0.120 ± 0.010 waves\)"),
        ({"saturated": 0.02}, r"2 % of the pixels are saturated"),
        ({"y": Y[..., :50]}, r"80x50 pixels, fewer than the 64x64"),
        ({"card": {}}, r"does not say on what it was trained"),
        ({"card": {"trained": 3}}, r"does not say on what it was trained"),
    ],
)
def test_each_property_outside_of_the_range_has_its_sentence(change, sentence):
    (flag,) = flags(**change)
    assert re.search(sentence, flag)


def test_flags_only_come_and_never_go_as_an_image_gets_worse():
    for name, values in {
        "noise_std": [0.0, 0.01, 0.02, 0.03, 0.3],
        "saturated": [0.0, 1e-3, 1e-2, 1.0],
        "identification": [found(g) for g in (0.0, 0.05, 0.08, 0.1, 0.2)],
    }.items():
        counts = [len(flags(**{name: value})) for value in values]
        assert counts == sorted(counts)
        assert (counts[0], counts[-1]) == (0, 1)


def test_a_bright_image_may_have_the_shot_noise_of_the_training():
    card = {"trained": {**CARD["trained"], "gain": [0.0, 0.01]}}
    assert flags(card, noise_std=0.07) == ()
    assert len(flags(card, y=Y / 50, noise_std=0.07)) == 1


@pytest.fixture(scope="module")
def observed():
    """(signal, white noise, true PSF, scene), and the same scene moved by nine pixels."""
    scene = torch.from_numpy(data.camera()[200:392, 200:392] / 255.0).float()
    gamma = torch.tensor([[0.1, -0.1, 0.05, 0.12, -0.1, 0.1, 0.0]])
    lens = ZernikeBlur()
    noise = torch.randn(162, 162, generator=torch.Generator().manual_seed(1))
    moved = scene.unfold(1, 9, 1).mean(2)[15:-15, 11:-11]
    return lens.forward(scene[None, None], gamma)[0, 0], noise, lens.psf(gamma)[0, 0], scene[15:-15, 15:-15], moved


@pytest.mark.parametrize("sigma", [0.005, 0.01])
def test_the_right_psf_explains_the_image_and_an_aberration_does_not_explain_a_motion(observed, sigma):
    signal, noise, psf, scene, moved = observed
    good = residual_of(signal + sigma * noise, scene, psf)
    assert good.judged
    assert good.explained
    assert "nothing in the residual speaks against the model" in good.sentence
    assert good.rms == pytest.approx(sigma, rel=0.1)
    assert good.unexplained < 0.01
    bad = residual_of(moved + sigma * noise, scene, psf)
    assert not bad.explained
    assert bad.whiteness > largest_whiteness(sigma) > good.whiteness
    assert "not white: the model does not explain this image" in bad.sentence
    assert verdict_of((), bad, found())[0] == "poor"


def test_a_restored_image_that_has_nothing_to_do_with_the_data_is_told(observed):
    signal, noise, psf, scene, _ = observed
    y = signal + 0.01 * noise
    other = residual_of(y, scene.flip(0), psf)
    assert not other.explained
    assert other.unexplained > 0.5
    assert "not what the camera saw" in other.sentence


def test_high_noise_and_tiny_images_cannot_be_judged(observed):
    signal, noise, right, scene, _ = observed
    noisy = residual_of(signal + 0.1 * noise, scene, right)
    assert not noisy.judged
    assert "cannot judge" in noisy.sentence
    assert verdict_of((), noisy, found()) == ("doubtful", noisy.sentence)
    tiny = residual_of(signal[:40, :40] + 0.01 * noise[:40, :40], scene[:40, :40], right)
    assert math.isnan(tiny.whiteness)
    assert not tiny.judged


def test_saturated_pixels_do_not_count(observed):
    signal, noise, right, scene, _ = observed
    level = float(signal.quantile(0.97))
    y = (signal + 0.01 * noise).clamp(max=level)
    assert residual_of(y, scene, right).explained
    nothing = torch.zeros_like(y, dtype=torch.bool)
    assert residual_of(y, scene, right, saturated=nothing).rms > 2 * residual_of(y, scene, right).rms


def test_thresholds_pass_through_what_was_measured_and_fall_with_the_noise():
    for sigma, limit in LARGEST_WHITENESS:
        assert largest_whiteness(sigma) == pytest.approx(limit)
    curve = [largest_whiteness(s) for s in (0.0, 1e-4, 1e-3, 0.005, 0.02, 0.05, 1.0)]
    assert curve == sorted(curve, reverse=True)


def test_the_verdict_is_good_only_without_any_doubt():
    fine = Residual(0.01, 0.01, 0.01, 0.0, True, True, "white")
    assert verdict_of((), fine, found()) == ("good", "white")
    assert verdict_of((), fine, None) == ("good", "white")
    assert verdict_of(("too noisy",), fine, found()) == ("doubtful", "too noisy")
    word, sentence = verdict_of((), fine, found(std=0.06))
    assert word == "doubtful"
    assert "0.06 waves only" in sentence
    assert verdict_of((), fine, found(std=0.06, calibrated=False))[0] == "good"
