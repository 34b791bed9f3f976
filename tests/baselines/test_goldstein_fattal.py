"""Goldstein–Fattal: support and power spectrum by their laws, then the whole method."""

from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.ndimage import fourier_shift
from skimage import data
from skimage.registration import phase_cross_correlation
from streak import streak
from torch.nn.functional import conv2d, pad
from torch.testing import assert_close

from deepblur.baselines import METHODS, DivergedError, goldstein_fattal
from deepblur.baselines.goldstein_fattal import first_support, power_spectrum, spread, support_of
from deepblur.baselines.whitening import autocorrelation, primitive_directions, project, whitened_projections
from deepblur.platform.evaluation.metrics import psf_ncc, psnr_db, registered_psf_snr_db


def registered(image, reference):
    """The image, moved by the fraction of a pixel that brings it onto the reference."""
    shift, *_ = phase_cross_correlation(reference.numpy(), image.numpy(), upsample_factor=50)
    return torch.from_numpy(np.fft.ifft2(fourier_shift(np.fft.fft2(image.numpy()), shift)).real).to(image)


def photograph(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(data.camera()[100 : 100 + height, 160 : 160 + width] / 255.0).float()


def blurred(image: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
    return conv2d(image[None, None], psf.to(image).flip((-2, -1))[None, None])[0, 0]


def grid_power(psf: torch.Tensor) -> torch.Tensor:
    more = 3 * len(psf) + 1
    return torch.fft.rfft2(pad(psf, (0, more, 0, more))).abs().square()


def test_the_support_is_the_minimum_within_the_slope_that_neighbours_allow(draw):
    rows = draw(50, 20)
    cap = first_support(rows)
    place = torch.arange(50)
    apart = (place[:, None] - place).abs()
    bound = rows.argmin(1) + torch.minimum(apart, 50 - apart) * (20 / 700)
    assert_close(cap, (bound.min(1).values - 1e-9).ceil().long())


def test_the_support_of_a_kernel_is_that_of_its_projections():
    box = torch.zeros(9, 9)
    box[2:7, 4] = 0.2  # five pixels high, one wide
    directions = primitive_directions(18)
    support = support_of(box, directions)
    at = {tuple(d): int(s) for d, s in zip(directions, support, strict=True)}
    assert at[0, 1] == 5
    assert at[1, 0] == 1
    assert at[1, 1] == at[1, -1] == 5


def test_the_spectrum_of_a_kernel_comes_back_from_its_exact_autocorrelations():
    kernel, directions = streak(11), primitive_directions(22)
    sums, _ = project(kernel, directions)
    rows = torch.fft.irfft(torch.fft.rfft(sums, 64).abs().square(), 64)[:, :23]
    power = spread(power_spectrum(rows, torch.full((len(rows),), 22), median=False), directions)
    axes = torch.zeros_like(power, dtype=torch.bool)
    axes[0], axes[:, 0] = True, True  # no rounding on the axes
    assert_close(power[axes], grid_power(kernel)[axes])
    assert (power - grid_power(kernel)).norm() < 0.06 * grid_power(kernel).norm()


def test_the_spectrum_of_a_kernel_comes_back_from_a_blurred_power_law(draw):
    frequency = torch.hypot(torch.fft.fftfreq(508)[:, None], torch.fft.rfftfreq(468)).double()
    frequency[0, 0] = torch.inf
    image = torch.fft.irfft2(torch.fft.rfft2(draw(508, 468)) / frequency, s=(508, 468))
    kernel, directions = streak(11), primitive_directions(22)
    rows = autocorrelation(*whitened_projections(blurred(image, kernel), directions), 22)
    power = spread(power_spectrum(rows, first_support(rows)), directions)
    assert (power - grid_power(kernel)).norm() < 0.15 * grid_power(kernel).norm()


def test_a_compact_kernel_is_found_and_not_its_mirror_image():
    sharp, kernel = photograph(266, 246), streak(11)
    blurry = blurred(sharp, kernel)
    blurry = blurry + 0.005 * torch.randn(blurry.shape, generator=torch.Generator().manual_seed(0))
    estimate = METHODS["goldstein_fattal"](blurry, psf_size=11, seed=0, inner=100)
    truth, found = kernel[None, None], estimate.psf[None, None]
    assert float(registered_psf_snr_db(found, truth)) > 4
    assert float(psf_ncc(found, truth)) > float(psf_ncc(found, truth.flip((-2, -1)))) + 0.05
    assert estimate.psf.min() >= 0
    assert_close(estimate.psf.sum(), torch.tensor(1.0))
    inside = sharp[5:-5, 5:-5][None, None]
    restored = registered(estimate.image, inside[0, 0])[None, None]  # a blind method cannot know where the image lies
    assert float(psnr_db(restored, inside, 21)) > float(psnr_db(blurry[None, None], inside, 21)) + 1


def test_a_seed_fixes_the_result_and_another_makes_other_tries():
    blurry = blurred(photograph(146, 120), streak(11))
    first, same, other = (goldstein_fattal(blurry, 11, seed, tries=3, inner=30) for seed in (1, 1, 2))
    assert torch.equal(first.psf, same.psf)
    assert torch.equal(first.image, same.image)
    assert not torch.equal(first.psf, other.psf)
    assert first.image.shape == blurry.shape
    assert first.psf.shape == (11, 11)


def test_brightness_scales_the_image_and_not_the_kernel():
    blurry = blurred(photograph(120, 130), streak(11))
    full, half = (goldstein_fattal(y, 11, tries=2, inner=20) for y in (blurry, blurry / 2))
    assert torch.equal(full.psf, half.psf)
    assert torch.equal(full.image, 2 * half.image)


def test_float64_is_kept_and_arrays_are_taken():
    estimate = goldstein_fattal(photograph(80, 90).double().numpy(), 9, tries=1, inner=5, outer=1)
    assert estimate.image.dtype == torch.float64
    assert estimate.psf.dtype == torch.float64


def test_a_time_budget_leaves_out_tries_but_never_the_first_ten():
    blurry = blurred(photograph(100, 100), streak(11))
    hurried = goldstein_fattal(blurry, 11, tries=50, inner=20, outer=1, seconds=1e-6)
    assert torch.equal(hurried.psf, goldstein_fattal(blurry, 11, tries=10, inner=20, outer=1).psf)


@pytest.mark.parametrize("psf_size", [1, 3])
def test_a_tiny_support_is_no_special_case(psf_size):
    estimate = goldstein_fattal(photograph(40, 50), psf_size, tries=2, inner=10)
    assert estimate.psf.shape == (psf_size, psf_size)
    assert_close(estimate.psf.sum(), torch.tensor(1.0))


def test_no_kernel_at_all_is_a_divergence(monkeypatch):
    module = import_module("deepblur.baselines.goldstein_fattal")
    monkeypatch.setattr(
        module, "retrieve_phase", lambda modulus, size, starts, inner: torch.zeros(len(starts), size, size)
    )
    with pytest.raises(DivergedError, match=r"none of 2 phase retrievals found a kernel on 9x9 pixels"):
        goldstein_fattal(photograph(80, 90), 9, tries=2)


@pytest.mark.parametrize(
    ("image", "settings", "message"),
    [
        (torch.zeros(80, 80), {}, r"the image is constant"),
        (torch.rand(69, 90), {}, r"got an image of 69x90 pixels and psf_size=31"),
        (torch.rand(90, 90), {"psf_size": 8}, r"psf_size is odd"),
        (torch.rand(90, 90) - 1, {}, r"got no value above"),
        (torch.rand(90, 90), {"tries": 0}, r"are positive; got .* tries=0"),
        (torch.rand(90, 90), {"alpha": -1.0}, r"not negative; got -1.0"),
        (torch.rand(90, 90), {"seconds": 0}, r"are positive; got .* seconds=0"),
    ],
)
def test_bad_input_is_refused(image, settings, message):
    with pytest.raises(ValueError, match=message):
        goldstein_fattal(image, **settings)
