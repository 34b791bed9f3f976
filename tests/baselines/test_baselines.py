"""What every blind method promises, checked on every entry of METHODS: a new method is tested by being there."""

import inspect
import re

import numpy as np
import pytest
import torch

from deepblur import baselines
from deepblur.baselines import METHODS, RESTORERS, DivergedError, Estimate, check_image
from deepblur.operators import PoissonGaussian, ZernikeBlur

QUICK = {"goldstein_fattal": {"tries": 1, "inner": 20, "outer": 1}, "spectral": {"starts": 4}}
"""Settings that let a method run in a second; its quality is the business of its own tests."""


@pytest.fixture(scope="module")
def image():
    rng = torch.Generator().manual_seed(0)
    blur = ZernikeBlur(psf_size=15)
    scene = torch.rand(1, 1, 24, 28, generator=rng).repeat_interleave(8, 2).repeat_interleave(8, 3)
    y = blur.forward(scene, torch.full((1, 7), 0.03))
    return PoissonGaussian(0.0, 0.01)(y, rng)[0, 0]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_an_image_and_gives_an_estimate(name, image):
    method = METHODS[name]
    assert getattr(baselines, name) is method
    found = method(image, psf_size=15, seed=3, **QUICK.get(name, {}))
    assert isinstance(found, Estimate)
    assert found.image.shape == image.shape
    assert found.image.dtype == torch.float32
    assert found.psf.shape == (15, 15)
    assert float(found.psf.sum()) == pytest.approx(1, abs=1e-4)
    assert float(found.psf.min()) >= 0
    again = method(image.numpy(), psf_size=15, seed=3, **QUICK.get(name, {}))
    assert torch.equal(found.psf, again.psf)
    assert torch.equal(found.image, again.image)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_states_its_source_and_its_arguments(name):
    text = inspect.getdoc(METHODS[name])
    assert re.search("Sources?:", text + str(inspect.getmodule(METHODS[name]).__doc__))
    silent = [argument for argument in inspect.signature(METHODS[name]).parameters if argument not in text]
    assert not silent, f"{name}'s docstring says nothing of {silent}"


BAD = {
    "nan": (lambda y: torch.where(y == y.max(), torch.nan, y), "values that are NaN or infinite; replace them"),
    "constant": (lambda y: torch.full_like(y, 0.5), r"the image is constant \(0.5 everywhere\)"),
    "small": (lambda y: y[:12, :12], r"(at least as large as the PSF|not larger than the image); got .*12x12"),
    "colour": (lambda y: y.expand(3, -1, -1), r"one grey floating-point image .* got \(3, 178, 210\)"),
    "bytes": (lambda y: (255 * y).clamp(0, 255).to(torch.uint8), "floating-point image .* of torch.uint8"),
    "scale": (lambda y: 255 * y, "divide by the camera's largest value"),
}


@pytest.mark.parametrize("name", [*METHODS, *RESTORERS])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_image_gets_one_sentence(name, bad, image):
    spoil, words = BAD[bad]
    given = {"psf_size": 15} if name in METHODS else {"psf": torch.full((15, 15), 1 / 225)}
    with pytest.raises(ValueError, match=words) as caught:
        (METHODS | RESTORERS)[name](spoil(image), **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", METHODS)
def test_an_even_psf_is_refused(name, image):
    with pytest.raises(ValueError, match=r"odd.*got 14"):
        METHODS[name](image, psf_size=14)


def test_an_estimate_that_is_not_finite_is_called_diverged():
    with pytest.raises(DivergedError, match="its psf holds 1 values that are not finite"):
        Estimate(image=torch.zeros(2, 2), psf=torch.tensor([[0.5, torch.nan]]))


def test_noise_beyond_the_range_and_double_precision_pass():
    image = np.random.default_rng(0).normal(0.5, 0.4, (20, 30))
    assert check_image(image, 15).dtype == torch.float64
    assert check_image(image.astype(np.float32)).dtype == torch.float32
