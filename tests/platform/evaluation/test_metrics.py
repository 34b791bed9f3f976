"""Metrics, checked by value against direct formulas and analytic PSFs."""

import math
from functools import partial

import numpy as np
import pytest
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.testing import assert_close

from deepblur.operators import ZernikeBlur, zernike
from deepblur.platform.evaluation.metrics import (
    CEILING_DB,
    otf_error,
    psf_ncc,
    psf_snr_db,
    psnr_db,
    registered_psf_snr_db,
    ssim,
    wavefront_error_waves,
)

ALL = [psf_snr_db, registered_psf_snr_db, psf_ncc, partial(otf_error, cutoff=0.2), psnr_db, ssim]


def gaussian(row, column, *, side=31, width=2.0):
    """A Gaussian PSF (1, 1, side, side) centred (row, column) pixels off the middle."""
    axis = torch.arange(side, dtype=torch.float64) - side // 2
    spot = torch.exp(-((axis[:, None] - row) ** 2 + (axis - column) ** 2) / (2 * width**2))
    return (spot / spot.sum())[None, None]


def test_psf_snr_is_the_direct_formula(draw):
    truth, estimate = draw(3, 1, 9, 7), draw(3, 1, 9, 7)
    by_hand = [
        -10 * math.log10(float(((e - t) ** 2).sum() / (t**2).sum())) for e, t in zip(estimate, truth, strict=True)
    ]
    assert_close(psf_snr_db(estimate, truth), torch.tensor(by_hand, dtype=torch.float64))
    assert_close(psf_snr_db(torch.zeros_like(truth), truth), torch.zeros(3, dtype=torch.float64))
    assert psf_snr_db(truth * (1 + math.sqrt(0.05)), truth).sub(13.0103).abs().max() < 1e-4


@pytest.mark.parametrize("shift", [(3.0, -2.0), (0.4, 0.0), (-2.37, 4.81)])
def test_registration_finds_the_shift(shift):
    truth, estimate = gaussian(0.5, 0.0), gaussian(0.5 + shift[0], shift[1])
    assert registered_psf_snr_db(estimate, truth) > 55
    assert psf_ncc(3 * estimate, truth) > 1 - 1e-5
    assert registered_psf_snr_db(estimate, truth) > psf_snr_db(estimate, truth) + 20


def test_registration_of_an_unequal_psf_is_the_best_over_all_whole_shifts(draw):
    truth, estimate = draw(1, 1, 5, 7), draw(1, 1, 5, 7)
    framed = torch.nn.functional.pad(truth, (6, 6, 4, 4))
    scores, similarities = [], []
    for row in range(9):
        for column in range(13):
            moved = torch.zeros_like(framed)
            moved[..., row : row + 5, column : column + 7] = estimate
            scores.append(psf_snr_db(moved, framed))
            similarities.append((moved * framed).sum() / (moved.norm() * framed.norm()))
    assert registered_psf_snr_db(estimate, truth) >= max(scores) - 1e-9
    assert registered_psf_snr_db(estimate, truth) < max(scores) + 3
    assert psf_ncc(estimate, truth) >= max(similarities) - 1e-12
    assert psf_ncc(estimate, truth) <= 1


def test_registration_never_lowers_the_score(draw):
    truth, estimate = draw(20, 1, 7, 9), draw(20, 1, 7, 9)
    assert (registered_psf_snr_db(estimate, truth) >= psf_snr_db(estimate, truth)).all()
    assert_close(psf_ncc(torch.zeros_like(truth), truth), torch.zeros(20, dtype=torch.float64))


def test_psnr_is_the_direct_formula_inside_the_border(draw):
    truth, estimate = draw(3, 1, 20, 25).sigmoid(), draw(3, 1, 20, 25).sigmoid()
    error = ((estimate - truth) ** 2)[..., 4:16, 4:21].mean((1, 2, 3))
    assert_close(psnr_db(estimate, truth, 4), -10 * torch.log10(error))


def test_ssim_is_the_mean_of_the_published_formula_over_windows(draw):
    truth, estimate = draw(2, 1, 20, 25).sigmoid(), draw(2, 1, 20, 25).sigmoid()
    inside = (..., slice(3, -3), slice(3, -3))
    x, y = (image[inside].unfold(2, 7, 1).unfold(3, 7, 1).flatten(-2) for image in (estimate, truth))
    mx, my = x.mean(-1), y.mean(-1)
    covariance = ((x - mx[..., None]) * (y - my[..., None])).sum(-1) / 48
    numerator = (2 * mx * my + 0.01**2) * (2 * covariance + 0.03**2)
    denominator = (mx**2 + my**2 + 0.01**2) * (x.var(-1) + y.var(-1) + 0.03**2)
    assert_close(ssim(estimate, truth, 3), (numerator / denominator).mean((1, 2, 3)), rtol=1e-9, atol=0)


def by_scikit_image(estimate, truth, border):
    """PSNR and SSIM image by image, in the images' own precision."""
    height, width = truth.shape[-2:]
    inside = (..., slice(border, height - border), slice(border, width - border))
    pairs = [(t.numpy(), e.numpy()) for t, e in zip(truth[inside], estimate[inside], strict=True)]
    psnr = [float(peak_signal_noise_ratio(*pair, data_range=1.0)) for pair in pairs]
    similarity = [float(structural_similarity(*pair, data_range=1.0, channel_axis=0)) for pair in pairs]
    return torch.tensor(psnr, dtype=torch.float64), torch.tensor(similarity, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("border", [0, 3, 15])
@pytest.mark.parametrize("shape", [(3, 1, 301, 300), (2, 3, 37, 44), (1, 1, 41, 39)])
def test_images_score_as_with_scikit_image(draw, shape, border, dtype):
    truth = (0.3 * draw(*shape) + 0.5).to(dtype)
    estimate = (truth + 0.1 * draw(*shape)).to(dtype)
    psnr, similarity = by_scikit_image(estimate, truth, border)
    assert_close(psnr_db(estimate, truth, border), psnr, atol=1e-6, rtol=0)
    assert_close(ssim(estimate, truth, border), similarity, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("border", [0, 15])
def test_photographs_score_as_with_scikit_image(draw, border, dtype):
    photographs = [skimage.data.camera(), skimage.data.coins(), skimage.data.page()]
    truth = torch.from_numpy(np.stack([p[:191, :256] / 255 for p in photographs]))[:, None].to(dtype)
    levels = torch.tensor([1e-4, 0.01, 0.1], dtype=dtype)[:, None, None, None]  # from imperceptible to heavy noise
    estimate = (truth + levels * draw(*truth.shape).to(dtype)).clamp(0, 1)
    psnr, similarity = by_scikit_image(estimate.double(), truth.double(), border)
    assert_close(psnr_db(estimate, truth, border), psnr, atol=1e-9, rtol=0)
    assert_close(ssim(estimate, truth, border), similarity, atol=1e-9, rtol=0)
    _, rounded = by_scikit_image(estimate, truth, border)  # its variances of a flat sky in single precision are coarse
    assert_close(ssim(estimate, truth, border), rounded, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cutoff", [0.1, 0.2, 0.25])
def test_the_otf_error_is_the_direct_sum_over_the_passband(draw, cutoff):
    truth, estimate = draw(2, 1, 5, 7), draw(2, 1, 5, 7)
    error, power = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(5) - 2, torch.arange(7) - 3, indexing="ij")
    for u in range(-4, 5):
        for v in range(-6, 7):
            if math.hypot(u / 9, v / 13) <= 2 * cutoff:
                wave = torch.exp(-2j * math.pi * (u * rows / 9 + v * columns / 13))
                error += ((estimate - truth)[:, 0] * wave).sum((1, 2)).abs() ** 2
                power += (truth[:, 0] * wave).sum((1, 2)).abs() ** 2
    assert_close(otf_error(estimate, truth, cutoff=cutoff), (error / power).sqrt())


def test_the_otf_error_sees_the_passband_alone():
    truth = gaussian(0.0, 0.0)
    ripple = 0.01 * torch.cos(0.9 * math.pi * torch.arange(31.0, dtype=torch.float64)) * truth  # 0.45 cycles per pixel
    assert_close(otf_error(0 * truth, truth, cutoff=0.2), torch.ones(1, dtype=torch.float64))
    assert_close(otf_error(1.1 * truth, truth, cutoff=0.2), torch.full((1,), 0.1, dtype=torch.float64))
    inside, everywhere = otf_error(truth + ripple, truth, cutoff=0.1), 10 ** (-psf_snr_db(truth + ripple, truth) / 20)
    assert inside < 0.01 * everywhere


def test_the_wavefront_error_is_that_of_the_phase_over_the_pupil_and_bears_the_twin():
    lens = ZernikeBlur(noll=(4, 6, 7, 11))
    truth = torch.tensor([[0.1, -0.05, 0.08, 0.02]])
    estimate = truth + torch.tensor([[0.03, 0.0, -0.04, 0.0]])
    axis = torch.linspace(-1, 1, 401, dtype=torch.float64)
    inside = torch.hypot(*torch.meshgrid(axis, axis, indexing="ij")) <= 1
    modes = torch.stack([zernike(j, axis[:, None], axis) for j in lens.noll])[:, inside]
    phase = ((estimate - truth).double() @ modes).square().mean().sqrt()
    for found in (estimate, lens.twin(estimate)):
        error = wavefront_error_waves(found, truth, lens.twin(truth))
        assert_close(error, torch.tensor([0.05], dtype=torch.float64), atol=1e-7, rtol=0)
        assert_close(error[0], phase, atol=0, rtol=0.01)
    with pytest.raises(ValueError, match="the estimate holds 4 values that are NaN"):
        wavefront_error_waves(math.nan * estimate, truth, truth)


def test_colour_images_are_scored_over_their_channels(draw):
    truth, estimate = draw(2, 3, 12, 12).sigmoid(), draw(2, 3, 12, 12).sigmoid()
    each = torch.stack([ssim(estimate[:, c : c + 1], truth[:, c : c + 1]) for c in range(3)])
    assert_close(ssim(estimate, truth), each.mean(0))


def test_a_perfect_estimate_has_the_ceiling():
    psf, image = gaussian(1.0, -0.5), gaussian(0.0, 0.0)
    for metric in (psf_snr_db, registered_psf_snr_db):
        assert metric(psf, psf) == CEILING_DB
    assert psnr_db(image, image) == CEILING_DB
    assert otf_error(psf, psf, cutoff=0.2) == 0
    assert ssim(image, image) == 1
    assert_close(psf_ncc(psf, psf), torch.ones(1, dtype=torch.float64))


def test_scores_need_no_gradient_and_take_single_precision(draw):
    truth, estimate = draw(2, 1, 9, 9).float(), draw(2, 1, 9, 9).float().requires_grad_()
    for metric in ALL:
        score = metric(estimate, truth)
        assert score.dtype == torch.float64
        assert score.shape == (2,)
        assert not score.requires_grad


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_estimate_is_refused(metric, value):
    truth = gaussian(0.0, 0.0).repeat(3, 1, 1, 1)
    estimate = truth.clone()
    estimate[1, 0, 2, 3] = value
    with pytest.raises(ValueError, match=r"estimate holds 1 values that are NaN or infinite, first in item 1"):
        metric(estimate, truth)


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda h: psf_snr_db(h[..., 1:], h), r"one shape; got \(1, 1, 31, 30\) and \(1, 1, 31, 31\)"),
        (lambda h: psf_snr_db(h.expand(1, 3, 31, 31), h.expand(1, 3, 31, 31)), r"one channel.* got \(1, 3, 31, 31\)"),
        (lambda h: psf_snr_db(h, 0 * h), r"true PSF is zero everywhere"),
        (lambda h: otf_error(h, h, cutoff=0.65), r"cutoff lies in \(0, 0.25\] cycles per pixel; got 0.65"),
        (lambda h: psnr_db(h, h, 16), r"at least 1x1 pixels .* got 31x31 with border_px=16"),
        (lambda h: psnr_db(h, h, -1), r"border_px=-1"),
        (lambda h: ssim(h, h, 13), r"at least 7x7 pixels .* border_px=13"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(act, text):
    with pytest.raises(ValueError, match=text):
        act(gaussian(0.0, 0.0))
