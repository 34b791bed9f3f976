"""The re-blur residual and its whiteness: null distribution, scale, and that a wrong PSF shows."""

import math

import pytest
import torch
from skimage import data
from torch.testing import assert_close

from deepblur.baselines.nonblind import richardson_lucy
from deepblur.baselines.residual import reblur, whiteness
from deepblur.operators import ZernikeBlur


def test_white_noise_has_the_stated_mean_and_deviation(draw):
    n, lags = 40 * 56, 11**2 - 1
    values = whiteness(draw(500, 40, 56))
    deviation = math.sqrt(0.8 * 2 / (n * math.sqrt(lags)))
    assert abs(float(values.mean())) < 4 * deviation / math.sqrt(500)
    assert float(values.std()) == pytest.approx(deviation, rel=0.1)


def test_it_is_the_mean_square_of_the_correlations(draw):
    r = draw(1, 12, 17)
    centred = (r - r.mean())[0]
    shifts = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]
    rho = [(centred * centred.roll(shift, (0, 1))).sum() / centred.square().sum() for shift in shifts]
    excess = (torch.stack(rho).square().mean() - 1 / 204) / (1 - 1 / 204)
    assert_close(whiteness(r, reach_px=2)[0], excess.sign() * excess.abs().sqrt())


def test_scale_and_offset_do_not_matter_and_smoothness_does(draw):
    r = draw(3, 64, 48)
    assert_close(whiteness(-7 * r + 3), whiteness(r), rtol=1e-8, atol=1e-12)
    smooth = [torch.nn.functional.avg_pool2d(r, k, stride=1) for k in (1, 2, 5, 15)]
    values = [float(whiteness(s).mean()) for s in smooth]
    assert values == sorted(values)
    slope = torch.linspace(0, 1, 400, dtype=torch.float64).expand(1, 300, 400)
    assert 0.9 < float(whiteness(slope)) <= 1
    for constant in (0.0, 0.3):
        assert whiteness(torch.full((1, 20, 30), constant)) == 0


def test_noise_that_follows_the_signal_still_counts_as_white(draw):
    signal = torch.from_numpy(data.camera()[:256, :300] / 255)
    assert abs(float(whiteness((0.05 * signal).sqrt() * draw(8, 256, 300)).mean())) < 0.005


def test_reblur_is_the_convolution_and_goes_on_beyond_the_edges(draw):
    lens = ZernikeBlur(psf_size=7)
    x, gamma = draw(2, 1, 20, 33), 0.1 * draw(2, 7)
    h = lens.psf(gamma)
    assert_close(reblur(x, h)[..., 3:-3, 3:-3], lens.forward(x, gamma))
    assert_close(reblur(torch.full_like(x, 0.3), h), torch.full_like(x, 0.3))
    assert reblur(x.float(), h).dtype == torch.float32


def test_a_wrong_psf_leaves_structure(draw):
    """Of two aberrated PSFs, whose transfer functions have their zeros at different frequencies."""
    lens = ZernikeBlur()
    scene = torch.from_numpy(data.camera()[:250, 100:380] / 255)
    gamma = torch.tensor([[0.1, -0.1, 0.05, 0.12, -0.1, 0.1, 0.0]], dtype=torch.float64)
    y = lens.forward(scene[None, None], gamma)[0, 0]
    y = y + 0.005 * draw(*y.shape)
    right, wrong = lens.psf(gamma)[0, 0], lens.psf(lens.twin(gamma).flip(-1))[0, 0]
    residuals = [(y - reblur(richardson_lucy(y, psf, iterations=60), psf))[15:-15, 15:-15] for psf in (right, wrong)]
    white, structured = whiteness(torch.stack(residuals))
    assert white < 0.05
    assert structured > 1.5 * white


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: whiteness(torch.ones(20, 30)), r"residuals \(B, H, W\); got \(20, 30\)"),
        (lambda: whiteness(torch.ones(1, 10, 30)), r"below half the residual's sides; got 5 for 10x30"),
        (lambda: whiteness(torch.ones(1, 20, 30), reach_px=0), r"reach_px is at least 1 .* got 0"),
        (lambda: reblur(torch.ones(20, 30), torch.ones(4, 3)), r"odd sides .* got 4x3"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
