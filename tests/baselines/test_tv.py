"""Total variation: against scikit-image, its own optimality, and the taper that makes an image periodic."""

import pytest
import torch
from skimage import data
from skimage.restoration import denoise_tv_chambolle
from torch.testing import assert_close

from deepblur.baselines.tv import edge_taper, split_bregman_tv
from deepblur.operators import ZernikeBlur, transfer_function

DIRAC = torch.ones(1, 1, 1, dtype=torch.float64)


def psf(draw, size=7):
    return ZernikeBlur(noll=(4, 6, 7), psf_size=size).psf(0.1 * draw(2, 3))[:, 0]


def blur(images, psfs):
    size = images.shape[-2:]
    return torch.fft.irfft2(transfer_function(psfs, size) * torch.fft.rfft2(images), s=size)


def variation(u):
    return ((u.roll(-1, -2) - u).square() + (u.roll(-1, -1) - u).square()).sqrt().sum((-2, -1))


def energy(u, y, psfs, weight):
    return variation(u) + weight / 2 * (blur(u, psfs) - y).square().sum((-2, -1))


def test_a_dirac_psf_gives_the_denoising_of_scikit_image(draw):
    """Its weight multiplies TV, ours the data: ours = 1/its. The frame is flat, so the two boundaries agree."""
    y = torch.full((40, 52), 0.5, dtype=torch.float64)
    y[10:30, 10:42] = torch.from_numpy(data.camera()[200:220, 200:232] / 255) + 0.05 * draw(20, 32)
    reference = torch.from_numpy(denoise_tv_chambolle(y.numpy(), weight=0.1, eps=1e-12, max_num_iter=5000))
    ours = split_bregman_tv(y[None], DIRAC, weight=10.0, iterations=500, penalty=20.0)
    assert_close(ours[0], reference, rtol=0, atol=2e-3)
    ours_energy, reference_energy = energy(ours, y, DIRAC, 10.0), energy(reference[None], y, DIRAC, 10.0)
    assert_close(ours_energy, reference_energy, rtol=3e-4, atol=0)
    assert ours_energy < reference_energy * (1 + 1e-6)  # Chambolle's iteration is the slower one


def test_the_penalty_does_not_change_the_limit_and_the_limit_is_a_minimum(draw):
    h = psf(draw)
    y = blur(draw(2, 24, 33).cumsum(-1) / 10, h) + 0.02 * draw(2, 24, 33)
    slow, fast = (split_bregman_tv(y, h, weight=200.0, iterations=2000, penalty=p) for p in (10.0, 40.0))
    assert_close(slow, fast, rtol=0, atol=1e-4)
    best = energy(slow, y, h, 200.0)
    for _ in range(5):
        assert (energy(slow + 0.01 * draw(2, 24, 33), y, h, 200.0) > best).all()


def test_a_batch_equals_its_items_and_weights_are_per_image(draw):
    h, y = psf(draw), draw(2, 24, 33)
    weight = torch.tensor([100.0, 3000.0])
    both = split_bregman_tv(y, h, weight=weight, iterations=3)
    for i in range(2):
        alone = split_bregman_tv(y[i : i + 1], h[i : i + 1], weight=float(weight[i]), iterations=3)
        assert_close(both[i : i + 1], alone)
    shared = split_bregman_tv(y[:1], h, weight=100.0, iterations=3)
    assert shared.shape == (2, 24, 33)
    assert split_bregman_tv(y.float(), h, weight=100.0).dtype == torch.float32


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("size", [(48, 64), (33, 50)])
def test_the_taper_removes_the_jump_and_leaves_the_inside(draw, size, times):
    y = torch.linspace(0, 1, size[1], dtype=torch.float64) + torch.linspace(0, 1, size[0], dtype=torch.float64)[:, None]
    h = psf(draw)[0]
    tapered = edge_taper(y, h, times)
    assert_close(tapered[7:-7, 7:-7], y[7:-7, 7:-7], rtol=0, atol=1e-12)
    for axis in (-2, -1):
        jump = (tapered.select(axis, 0) - tapered.select(axis, -1)).abs().max()
        assert jump < 0.5 * (y.select(axis, 0) - y.select(axis, -1)).abs().max()
    assert tapered.min() >= y.min()
    assert tapered.max() <= y.max()


def test_the_taper_keeps_a_constant_and_broadcasts(draw):
    flat = torch.full((3, 2, 20, 31), 0.3, dtype=torch.float64)
    assert_close(edge_taper(flat, psf(draw), 3), flat)
    assert edge_taper(flat.float(), psf(draw)).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": (24, 33)}, r"images \(B, H, W\) .* got \(24, 33\)"),
        ({"images": (3, 24, 33)}, r"of one batch size, or 1; got \(3, 24, 33\) and \(2, 7, 7\)"),
        ({"weight": 0.0}, r"weight must be positive; got 0"),
        ({"penalty": -1.0}, r"penalty must be positive; got -1"),
        ({"weight": torch.ones(2, 1)}, r"weight is one number or one per image"),
        ({"penalty": torch.ones(3)}, r"penalty is one number or one per image, \(2,\); got shape \(3,\)"),
        ({"iterations": 0}, r"at least one iteration; got iterations=0"),
        ({"images": (2, 5, 33)}, r"PSF 7x7 is larger than the image 5x33"),
    ],
)
def test_bad_input_is_refused(draw, change, message):
    arguments = {"images": (2, 24, 33), "weight": 100.0, "iterations": 2, "penalty": 10.0} | change
    with pytest.raises(ValueError, match=message):
        split_bregman_tv(draw(*arguments.pop("images")), psf(draw), **arguments)


def test_a_taper_repeats_at_least_once(draw):
    with pytest.raises(ValueError, match=r"at least once; got times=0"):
        edge_taper(draw(24, 33), psf(draw)[0], 0)
