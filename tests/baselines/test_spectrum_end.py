"""The cutoff that an image's spectrum tells: known lenses on photographs, and images that have none."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage import data

from deepblur.baselines.spectrum_end import SpectrumEnd, perfect_transfer, spectrum_end
from deepblur.operators import PoissonGaussian, ZernikeBlur
from deepblur.operators.pupil import psf_px

SCENE = torch.from_numpy(data.camera()[80:356, 120:420] / 255.0).float()[None, None]
GAMMA = torch.tensor([[0.05, -0.08, 0.06, 0.09, -0.04, 0.07, -0.1]])


def blurry(cutoff, noise):
    blur = ZernikeBlur(cutoff=cutoff, psf_size=psf_px(cutoff))
    y = blur.forward(SCENE, GAMMA)
    return PoissonGaussian(0.0, noise)(y, torch.Generator().manual_seed(0))[0, 0]


@pytest.mark.parametrize("cutoff", [0.1, 0.15, 0.2, 0.25])
def test_the_cutoff_of_a_known_lens_is_read_within_its_interval(cutoff):
    value, std = spectrum_end(blurry(cutoff, 0.0)).read
    assert abs(value / cutoff - 1) < 0.05
    assert abs(value - cutoff) < 3 * std
    assert value <= 0.25


def test_a_cutoff_is_read_in_any_unit():
    y = blurry(0.15, 0.001)
    assert spectrum_end(4000 * y + 100).cutoff == pytest.approx(spectrum_end(y).cutoff, rel=1e-3)


def test_in_noise_nothing_is_read_and_nothing_contradicted():
    end = spectrum_end(blurry(0.2, 0.05))
    assert end.read is None
    assert end.beyond(0.2) is end.below(0.2) is end.below(0.25) is None


def test_a_sharp_image_has_no_end_and_contradicts_a_small_cutoff():
    end = spectrum_end(SCENE[0, 0])
    assert end.read is None
    assert end.beyond(0.15) > 0.15


@pytest.mark.parametrize("noise", [0.0, 0.003])
@pytest.mark.parametrize("std_px", [1.0, 1.5, 2.5])
def test_a_gaussian_is_no_lens(std_px, noise):
    y = torch.from_numpy(gaussian_filter(SCENE[0, 0].numpy(), std_px))
    end = spectrum_end(y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)))
    assert end.no_lens > 0
    assert end.read is None


@pytest.mark.parametrize("cutoff", [0.12, 0.2])
def test_a_wrong_cutoff_is_contradicted_and_the_right_one_not(cutoff):
    end = spectrum_end(blurry(cutoff, 0.001))
    assert end.beyond(cutoff) is end.below(cutoff) is None
    assert end.beyond(0.7 * cutoff) == pytest.approx(cutoff, rel=0.15)
    assert end.below(1.5 * cutoff) == pytest.approx(cutoff, rel=0.1)


def test_too_few_pixels_or_one_value_say_nothing():
    assert spectrum_end(SCENE[0, 0, :100, :200]) is None
    assert spectrum_end(torch.ones(160, 160)) is None


def test_cutoff_and_deviation_are_those_of_the_probability():
    cutoffs = torch.tensor([0.1, 0.2], dtype=torch.float64)
    end = SpectrumEnd(cutoffs, torch.tensor([0.5, 0.5], dtype=torch.float64))
    assert end.cutoff == pytest.approx(0.02**0.5)
    assert end.relative_std > 0.34
    assert end.read is None


def test_the_perfect_lens_passes_what_its_psf_does():
    cutoff, n = 0.2, 128
    psf = ZernikeBlur(noll=(4,), cutoff=cutoff, psf_size=125).psf(torch.zeros(1, 1, dtype=torch.float64))[0, 0]
    radius = torch.arange(n // 2 + 1, dtype=psf.dtype) / n / (2 * cutoff)
    along = torch.fft.rfft2(psf, (n, n))[0].abs()
    torch.testing.assert_close(perfect_transfer(radius), along, rtol=0, atol=1e-2)
