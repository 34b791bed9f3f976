"""Restoration with a known PSF: each algorithm against its definition, and all against blur and noise."""

import pytest
import torch
from skimage import data
from skimage import restoration as skimage_restoration
from torch.testing import assert_close

from deepblur.baselines import nonblind
from deepblur.baselines.nonblind import RESTORERS, maximize_likelihood, noise_level, richardson_lucy, tv, wiener
from deepblur.operators import ProductConvolutionBlur, ZernikeBlur, transfer_function

LENS = ZernikeBlur()
NOISES = (0.0, 0.01, 0.05, 0.15)


def observe(rng, scene, noise_std):
    """Sharp image, PSF and data of a scene (H, W) in [0, 1]; the data are a valid convolution."""
    scene = torch.from_numpy(scene) / 255
    gamma = 0.3 * torch.rand(1, 7, generator=rng, dtype=torch.float64) - 0.15
    blurred = LENS.forward(scene[None, None], gamma)[0, 0]
    noise = noise_std * torch.randn(blurred.shape, generator=rng, dtype=torch.float64)
    return scene[15:-15, 15:-15], LENS.psf(gamma)[0, 0], blurred + noise


def psnr(x, truth):
    inside = (slice(15, -15), slice(15, -15))
    return float(-10 * (x - truth)[inside].square().mean().log10())


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("noise_std", NOISES)
def test_every_default_improves_the_image_and_is_near_its_best_strength(rng, name, noise_std):
    truth, psf, y = observe(rng, data.camera()[100:270, 130:330], noise_std)
    default = RESTORERS[name](y, psf)
    assert default.shape == truth.shape
    gain = psnr(default, truth) - psnr(y, truth)
    assert gain > 3
    strengths = {"wiener": "balance", "richardson_lucy": "iterations", "tv": "weight"}
    used = {
        "wiener": [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0],
        "richardson_lucy": [1, 3, 10, 30, 100],
        "tv": [10.0, 30.0, 1e2, 3e2, 1e3, 3e3, 1e4, 1e5],
    }[name]
    best = max(psnr(RESTORERS[name](y, psf, **{strengths[name]: value}), truth) for value in used)
    assert psnr(default, truth) > best - 1.5


def test_tv_with_the_true_psf_reaches_the_published_level(rng):
    """Published for this setting at σ = 0.01: 21.3, 19.4 and 21.0 dB blurry, 26.2, 24.4 and 24.7 dB restored."""
    astronaut = data.astronaut().mean(-1)
    for scene, level in ((data.camera(), 26.2), (astronaut, 24.4), (data.coins(), 24.7)):
        scores = []
        for _ in range(3):
            truth, psf, y = observe(rng, scene[:286, 60:346].copy(), 0.01)
            scores.append(psnr(tv(y, psf), truth))
        assert sorted(scores)[1] > level


@pytest.mark.parametrize("noise_std", [0.005, 0.01, 0.05, 0.15])
def test_the_noise_level_of_a_blurred_photograph(rng, noise_std):
    for scene in (data.camera(), data.coins()[:, :300], data.brick(), data.moon()):
        _, _, y = observe(rng, scene, noise_std)
        assert noise_level(y) == pytest.approx(noise_std, rel=0.1)
    assert noise_level(observe(rng, data.camera(), 0.0)[2]) < 5e-4


@pytest.mark.parametrize("name", RESTORERS)
def test_the_defaults_follow_the_intensity_scale(rng, name):
    _, psf, y = observe(rng, data.camera()[:150, :160], 0.02)
    assert_close(RESTORERS[name](y / 4, psf), RESTORERS[name](y, psf) / 4, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", RESTORERS)
def test_dtype_and_size_follow_the_image_which_may_be_an_array(draw, name):
    psf = LENS.psf(torch.zeros(1, 7))[0, 0, 10:21, 8:23]
    y = draw(40, 57).abs()
    for dtype in (torch.float32, torch.float64):
        x = RESTORERS[name](y.to(dtype), psf)
        assert x.shape == (40, 57)
        assert x.dtype == dtype
    assert_close(RESTORERS[name](y.numpy(), psf.numpy()), x)


def test_wiener_is_the_dense_solution_on_a_torus(draw, monkeypatch):
    monkeypatch.setattr(nonblind, "pad_for_circular", lambda y, margins: y)
    monkeypatch.setattr(nonblind, "_margins", lambda psf: (0, 0))
    y, psf = draw(6, 8).abs(), draw(3, 5).abs()
    unit = torch.eye(48, dtype=torch.float64).reshape(48, 6, 8)
    H = torch.fft.irfft2(transfer_function(psf, (6, 8)) * torch.fft.rfft2(unit), s=(6, 8)).flatten(1).T
    laplacian = sum(unit.roll(shift, axis) for shift in (-1, 1) for axis in (-2, -1)) - 4 * unit
    D = laplacian.flatten(1).T
    dense = torch.linalg.solve(H.T @ H + 0.3 * D.T @ D, H.T @ y.flatten())
    assert_close(wiener(y, psf, balance=0.3).flatten(), dense)


def test_richardson_lucy_keeps_the_flux_stays_positive_and_climbs_the_likelihood(draw):
    blur = ProductConvolutionBlur(draw(2, 5, 3).abs(), draw(1, 20, 31).abs())
    A = blur.bind(torch.tensor([[0.6, 0.4]], dtype=torch.float64))
    y = draw(16, 29).abs()

    def forward(x):
        return A.forward(x[None, None])[0, 0]

    def adjoint(y):
        return A.adjoint(y[None, None])[0, 0]

    likelihood = []
    for iterations in range(1, 12):
        x = maximize_likelihood(y, forward, adjoint, iterations=iterations)
        assert x.min() >= 0
        assert_close(forward(x).sum(), y.sum(), rtol=1e-3, atol=0)
        likelihood.append(float((y * forward(x).log() - forward(x)).sum()))
    assert likelihood == sorted(likelihood)


def test_richardson_lucy_is_that_of_scikit_image_where_no_light_crosses_the_border(draw):
    psf = LENS.psf(0.05 * draw(1, 7))[0, 0, 11:20, 9:22]
    psf /= psf.sum()  # scikit-image's update leaves Aᵀ1 out
    y = torch.zeros(60, 70, dtype=torch.float64)
    y[20:40, 20:50] = 1 + draw(20, 30).abs()
    reference = skimage_restoration.richardson_lucy(y.numpy(), psf.numpy(), 8, clip=False, filter_epsilon=1e-12)
    assert_close(richardson_lucy(y, psf, iterations=8), torch.from_numpy(reference), rtol=1e-4, atol=1e-4)


def test_richardson_lucy_takes_noise_below_zero_for_darkness(rng):
    truth, psf, y = observe(rng, data.camera()[:150, 150:310], 0.15)
    assert y.min() < 0
    x = richardson_lucy(y, psf)
    assert x.min() >= 0
    assert_close(richardson_lucy(y, psf, iterations=3), richardson_lucy(y.clamp(min=0), psf, iterations=3))
    assert psnr(x, truth) > psnr(y, truth) + 3


@pytest.mark.parametrize(
    ("restorer", "arguments", "message"),
    [
        (tv, {"weight": 0.0}, r"weight must be positive; got 0"),
        (wiener, {"balance": -1.0}, r"balance must be positive; got -1"),
        (richardson_lucy, {"iterations": 0}, r"at least one iteration; got iterations=0"),
        (richardson_lucy, {"image": -torch.rand(40, 57)}, r"no pixel is above 0"),
        (tv, {"noise_std": -0.1}, r"noise_std is a standard deviation and at least 0; got -0.1"),
        (tv, {"psf": torch.ones(4, 3)}, r"odd sides and is not larger .* got 4x3"),
        (tv, {"psf": torch.ones(41, 3)}, r"not larger than the image; got 41x3 for 40x57"),
        (tv, {"psf": torch.zeros(3, 3)}, r"positive sum; got \(3, 3\) of torch.float32 with sum 0"),
        (tv, {"psf": torch.full((3, 3), torch.nan)}, r"a PSF is a finite .* sum nan"),
        (tv, {"psf": torch.ones(1, 3, 3)}, r"tensor \(h, w\) of positive sum; got \(1, 3, 3\)"),
        (tv, {"image": torch.full((40, 57), torch.nan)}, r"NaN or infinite"),
        (tv, {"image": torch.ones(40, 57)}, r"the image is constant"),
    ],
)
def test_bad_input_is_refused(draw, restorer, arguments, message):
    with pytest.raises(ValueError, match=message):
        restorer(**({"image": draw(40, 57), "psf": torch.ones(3, 3)} | arguments))


@pytest.mark.parametrize(
    ("name", "strength"), [("wiener", "balance"), ("tv", "weight"), ("richardson_lucy", "iterations")]
)
def test_relative_multiplies_the_strength(rng, name, strength):
    _, psf, y = observe(rng, data.camera(), 0.01)
    given = RESTORERS[name](y, psf, **{strength: 12})
    assert torch.equal(RESTORERS[name](y, psf, **{strength: 4}, relative=3.0), given)
    followed = RESTORERS[name](y, psf)
    assert not torch.equal(RESTORERS[name](y, psf, relative=3.0), followed)
