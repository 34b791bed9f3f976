"""Metrics, checked by value against direct formulas and analytic PSFs."""

import math

import pytest
import torch
from torch.testing import assert_close

from deepblur.platform.metrics import CEILING_DB, psf_ncc, psf_snr_db, psnr_db, registered_psf_snr_db, ssim


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


def test_colour_images_are_scored_over_their_channels(draw):
    truth, estimate = draw(2, 3, 12, 12).sigmoid(), draw(2, 3, 12, 12).sigmoid()
    each = torch.stack([ssim(estimate[:, c : c + 1], truth[:, c : c + 1]) for c in range(3)])
    assert_close(ssim(estimate, truth), each.mean(0))


def test_a_perfect_estimate_has_the_ceiling():
    psf, image = gaussian(1.0, -0.5), gaussian(0.0, 0.0)
    for metric in (psf_snr_db, registered_psf_snr_db):
        assert metric(psf, psf) == CEILING_DB
    assert psnr_db(image, image) == CEILING_DB
    assert ssim(image, image) == 1
    assert_close(psf_ncc(psf, psf), torch.ones(1, dtype=torch.float64))


def test_scores_need_no_gradient_and_take_single_precision(draw):
    truth, estimate = draw(2, 1, 9, 9).float(), draw(2, 1, 9, 9).float().requires_grad_()
    for metric in (psf_snr_db, registered_psf_snr_db, psf_ncc, psnr_db, ssim):
        score = metric(estimate, truth)
        assert score.dtype == torch.float64
        assert score.shape == (2,)
        assert not score.requires_grad


@pytest.mark.parametrize("metric", [psf_snr_db, registered_psf_snr_db, psf_ncc, psnr_db, ssim])
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
        (lambda h: psnr_db(h, h, 16), r"at least 1x1 pixels .* got 31x31 with border_px=16"),
        (lambda h: psnr_db(h, h, -1), r"border_px=-1"),
        (lambda h: ssim(h, h, 13), r"at least 7x7 pixels .* border_px=13"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(act, text):
    with pytest.raises(ValueError, match=text):
        act(gaussian(0.0, 0.0))
