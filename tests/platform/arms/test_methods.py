"""A method is a combination of named parts; what cannot work is refused before anything runs."""

from dataclasses import replace

import pytest
import torch
from micro_comparison import STUDY
from torch import nn

from deepblur.baselines import METHODS
from deepblur.operators import PoissonGaussian
from deepblur.platform.arms.methods.method import Assess, Method, estimate
from deepblur.platform.data.observations import observe
from deepblur.platform.data.sources import parse_data
from deepblur.platform.evaluation.levels import NoiseLevel

DATA = parse_data("dead-leaves")


def built(arm, **settings):
    return STUDY.build(arm, settings=settings, data=DATA, seed=0)


DEGRADATION = built("deep-blur").degradation


def method(psf, image, **settings):
    return Method(degradation=DEGRADATION, psf=psf, image=image, **settings)


@pytest.fixture
def truth(rng):
    operator = DEGRADATION.operator
    x = torch.rand(1, 1, *operator.input_size((40, 52)), generator=rng)
    gamma = torch.tensor([[0.05, -0.08]])
    return observe(x, gamma, PoissonGaussian(0.0, 0.01), operator, rng)


def run(method, truth, networks=(), level=None):
    return estimate(method, dict(networks), truth.blurry[0, 0], truth, level=level, seed=0)


@pytest.mark.parametrize(
    ("psf", "image", "words"),
    [
        ("l1", "own", r"psf is one of none, identify, .*got 'l1'"),
        ("mean", "sharpen", r"image is one of none, blurry, .*got 'sharpen'"),
        ("identify", "tv", r"needs a trained \{'identify'\}"),
        ("true", "own", "only a blind method of its own restores"),
        ("l0_gradient", "deblur", "DN needs parameters γ"),
        ("none", "tv", "tv needs a PSF"),
    ],
)
def test_a_combination_that_cannot_work_is_refused(psf, image, words):
    networks = () if psf == "identify" else built("deep-blur").networks
    with pytest.raises(ValueError, match=words):
        method(psf, image, networks=networks)


def test_the_oracles_get_the_truth_and_half_of_it(truth):
    operator = DEGRADATION.operator
    assert torch.equal(run(method("true", "none"), truth).psf, truth.psf[0, 0])
    odd = run(method("odd", "none"), truth)
    assert torch.equal(odd.gamma, torch.zeros(2))  # Noll 4 and 5 are both even
    assert torch.equal(odd.psf, operator.psf(torch.zeros(1, 2))[0, 0])
    assert torch.equal(run(method("unaberrated", "none"), truth).psf, odd.psf)


def test_an_oracle_without_a_truth_is_refused(truth):
    with pytest.raises(ValueError, match="needs the truth, which real images have not"):
        estimate(method("true", "tv"), {}, truth.blurry[0, 0], None, level=None, seed=0)


def test_networks_get_what_they_are_named_for(truth):
    class Known(nn.Module):
        def forward(self, y):
            return truth.gamma

    class Doubled(nn.Module):
        def forward(self, y, *_):
            return 2 * y

    networks = {"identify": Known(), "deblur": Doubled(), "restore": Doubled()}
    found = run(built("deep-blur"), truth, networks)
    assert torch.equal(found.psf, truth.psf[0, 0])
    assert torch.equal(found.image, 2 * truth.blurry[0, 0])
    alone = run(built("NAFNet"), truth, networks)
    assert alone.psf is None
    assert torch.equal(alone.image, 2 * truth.blurry[0, 0])


def test_every_blind_method_hands_its_psf_to_any_restorer(truth):
    for name in METHODS:
        found = run(method(name, "wiener"), truth) if name == "spectral" else None
        assert found is None or found.image.shape == truth.blurry.shape[-2:]


def test_tuned_settings_follow_the_nearest_noise_level(truth):
    tuned = ((NoiseLevel("low", 0.0, 0.01), {"balance": 0.1}), (NoiseLevel("high", 0.0, 0.1), {"balance": 0.2}))
    wiener = method("true", "wiener", settings={"balance": 0.5}, tuned=tuned)
    assert wiener.settings_at(NoiseLevel("a", 0.0, 0.02)) == {"balance": 0.1}
    assert wiener.settings_at(NoiseLevel("b", 0.02, 0.08)) == {"balance": 0.2}
    assert wiener.settings_at(None) == {"balance": 0.5}
    strong, weak = (run(wiener, truth, level=level[0]).image for level in reversed(tuned))
    assert strong.std() < weak.std()


def test_a_method_runs_its_own_code_and_not_its_rivals():
    l0 = method("l0_gradient", "own").code()
    assert {"baselines/l0_gradient", "baselines/l0_kernel", "baselines/tv"} <= set(l0)
    assert not {"baselines/spectral", "baselines/goldstein_fattal"} & set(l0)
    assert method("true", "none").code() == ()
    assert "baselines/patchwise" in method("identify", "patchwise", networks=built("deep-blur").networks).code()


def test_a_method_without_networks_is_the_same_stage_at_every_seed():
    grid = STUDY.presets["quick"].grid
    prints = {DATA.train: "a", DATA.validation: "b", DATA.test: "c"}

    def key(arm, seed, **change):
        stage = Assess(
            method=STUDY.build(arm, settings={}, data=DATA, seed=seed), grid=grid, test=DATA.test, position=0
        )
        return replace(stage, **change).key(prints)

    assert key("Wiener", 0) == key("Wiener", 1)
    assert key("deep-blur", 0) != key("deep-blur", 1)
    assert key("Wiener", 0) != key("Wiener", 0, position=1)
    assert key("Wiener", 0) != key("broken", 0)
