"""Projections of a photograph, whitened: sums along lines, flat autocorrelations, an exact deconvolution."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepblur.baselines.whitening import (
    DERIVATIVE,
    autocorrelation,
    compensate,
    primitive_directions,
    project,
    whitened_projections,
)


def test_every_frequency_is_a_multiple_of_exactly_one_direction():
    directions = primitive_directions(6)
    multiples = [tuple(i * d) for d in directions for i in range(-6, 7) if i and abs(i * d).max() <= 6]
    assert sorted(multiples) == sorted((u, v) for u in range(-6, 7) for v in range(-6, 7) if u or v)


def test_directions_go_by_angle_from_vertical_to_vertical():
    directions = primitive_directions(6)
    angles = np.arctan2(directions[:, 1], directions[:, 0])
    assert angles[0] == np.pi / 2
    assert (np.diff(angles) < 0).all()
    assert angles[-1] > -np.pi / 2


def test_projections_are_the_sums_over_columns_rows_and_diagonals(draw):
    image = draw(13, 20)
    sums, lengths = project(image, np.array([[1, 0], [0, 1], [1, 1], [1, -1]]))
    assert lengths.tolist() == [20, 13, 32, 32]
    assert_close(sums[0, :20], image.sum(0))
    assert_close(sums[1, :13], image.sum(1))
    falling = torch.stack([image.flip(0).diagonal(k).sum() for k in range(-12, 20)])  # x + y is constant
    rising = torch.stack([image.diagonal(k).sum() for k in range(-12, 20)])  # x − y is constant
    assert_close(sums[2], torch.cat([falling, falling.new_zeros(1)]))
    assert_close(sums[3], torch.cat([rising, rising.new_zeros(1)]))


def test_a_projection_holds_the_spectrum_along_its_direction():
    """Of a Gaussian spot, whose spectrum is known: exp(−2π²s²|f|²) at f·(a, b)/max(|a|, |b|)."""
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(51.0) - 25, indexing="ij")
    spot = torch.exp(-(x**2 + y**2) / (2 * 4.0**2))
    directions = primitive_directions(5)
    sums, _ = project(spot / spot.sum(), directions)
    f = torch.arange(3) * 0.02
    dft = torch.exp(-2j * torch.pi * f[:, None] * torch.arange(sums.shape[1])) @ sums.T.to(torch.complex64)
    stretch = torch.tensor((directions**2).sum(1) / abs(directions).max(1) ** 2).float()
    assert_close(dft.abs(), torch.exp(-2 * (torch.pi * 4 * f[:, None]) ** 2 * stretch), rtol=0, atol=0.01)


@pytest.mark.parametrize("exponent", [0, 1])
def test_whitening_leaves_of_a_power_law_what_the_derivative_makes_of_it(draw, exponent):
    """Spectrum 1/|f|, as photographs have it, times |D(f)| is flat up to where the nine taps fall off, and so is the
    autocorrelation beyond lag 2; white noise (exponent 0) leaves the taps' own autocorrelation."""
    frequency = torch.hypot(torch.fft.fftfreq(240)[:, None], torch.fft.rfftfreq(200)).double() ** exponent
    frequency[0, 0] = torch.inf
    directions = np.array([[1, 0], [0, 1], [1, 1], [1, -1]])  # where a shear rounds nothing
    images = torch.fft.irfft2(torch.fft.rfft2(draw(40, 240, 200)) / frequency, s=(240, 200))
    rows = sum(autocorrelation(*whitened_projections(image, directions), 24) for image in images).mean(0)
    f = torch.arange(0.5, 500).double() / 1000
    response = sum(2 * tap * torch.sin(2 * torch.pi * f * k) for k, tap in enumerate(DERIVATIVE[5:], 1)) / f**exponent
    expected = (torch.cos(2 * torch.pi * f * torch.arange(25)[:, None]) * response**2).mean(1)
    assert_close(rows / rows[0], expected / expected[0], rtol=0, atol=0.05)
    assert exponent == 0 or (expected[3:] / expected[0]).abs().max() < 0.05


def test_projections_have_mean_zero_and_norm_one(draw):
    sums, lengths = whitened_projections(draw(30, 41), primitive_directions(4))
    assert sums.dtype == torch.float64
    assert_close(sums.sum(1), torch.zeros(len(sums)).double())
    assert_close(sums.norm(dim=1), torch.ones(len(sums)).double())
    assert (sums[torch.arange(55) >= lengths[:, None]] == 0).all()


@pytest.mark.parametrize(("length", "margin"), [(30, 6), (20, 6), (17, 0)])
def test_autocorrelation_sums_the_products_of_a_segment(draw, length, margin):
    p = torch.zeros(1, 32).double()
    p[0, :length] = draw(length)
    rows = autocorrelation(p, torch.tensor([length]), 6)[0]
    for lag in range(7):
        ahead = sum(p[0, n] * p[0, n + lag] for n in range(margin, length - 6))
        behind = sum(p[0, n] * p[0, n - lag] for n in range(6, length - margin))
        assert_close(rows[lag], (ahead + behind) / 2)


def test_compensation_undoes_the_filter():
    lags = torch.arange(-8, 9).double()
    filter_ = (lags.abs() + 1) ** -2.1
    original = torch.exp(-(lags**2) / 18)
    filtered = torch.tensor(np.convolve(original, filter_ / filter_.sum(), "same"))
    assert_close(compensate(filtered[None, 8:], 2.1)[0], original[8:])
    assert_close(compensate(filtered[None, 8:], 0)[0], filtered[8:])


def test_compensation_leaves_a_row_alone_whose_centre_would_turn_negative():
    spike = torch.tensor([[1.0, 0, 0, 0], [1.0, 0.9, 0.8, 0.7]])
    compensated = compensate(spike, 2.1)
    assert_close(compensated[0], spike[0])
    assert (compensated[1] != spike[1]).all()
