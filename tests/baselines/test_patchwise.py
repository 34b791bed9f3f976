"""Patch by patch: the blended operator, and that it restores what one PSF cannot."""

from itertools import pairwise

import pytest
import torch
from skimage import data
from torch.testing import assert_close

from deepblur.baselines.estimate import DivergedError
from deepblur.baselines.nonblind import richardson_lucy
from deepblur.baselines.patchwise import PatchBlur, patchwise
from deepblur.nets import Identifier
from deepblur.nets.identifier import half_overlapping_starts
from deepblur.operators import EigenPSFBlur, ZernikeBlur

LENS = ZernikeBlur(noll=(4, 7), psf_size=15)


def patch_blur(draw, shape=(5, 3), size=(41, 64), patch=(16, 24)):
    starts = half_overlapping_starts(size[0], patch[0]), half_overlapping_starts(size[1], patch[1])
    psfs = draw(len(starts[0]), len(starts[1]), *shape).abs()
    return PatchBlur(psfs, starts, patch), psfs


def test_forward_and_adjoint_agree_on_the_inner_product(draw):
    blur, _ = patch_blur(draw)
    x, y = draw(45, 66), draw(41, 64)
    assert blur.forward(x).shape == y.shape
    assert blur.adjoint(y).shape == x.shape
    assert_close((blur.forward(x) * y).sum(), (x * blur.adjoint(y)).sum(), rtol=1e-12, atol=0)


def test_the_response_to_a_point_is_a_smooth_mixture_of_the_psfs(draw):
    blur, psfs = patch_blur(draw)
    flat = psfs.flatten(0, 1).flatten(1)
    for z in [(8, 9), (20, 33), (37, 60)]:
        point = torch.zeros(45, 66, dtype=torch.float64)
        point[z] = 1
        response = blur.forward(point)[z[0] - 4 : z[0] + 1, z[1] - 2 : z[1] + 1]
        weights = torch.linalg.lstsq(flat.T, response.flatten()[:, None], driver="gelsd").solution
        assert_close(flat.T @ weights, response.flatten()[:, None], rtol=0, atol=1e-12)
        assert_close(blur.forward(point).sum(), response.sum())


def test_the_weights_sum_to_one_everywhere():
    starts = half_overlapping_starts(41, 16), half_overlapping_starts(64, 24)
    dirac = torch.ones(len(starts[0]), len(starts[1]), 1, 1, dtype=torch.float64)
    ones = torch.ones(41, 64, dtype=torch.float64)
    assert_close(PatchBlur(dirac, starts, (16, 24)).forward(ones), ones)


@pytest.mark.parametrize("patch_px", [24, 40, 500])
def test_equal_psfs_give_plain_richardson_lucy(draw, patch_px):
    y = draw(50, 67).abs()
    gamma = torch.tensor([[0.1, -0.05]], dtype=torch.float64)
    found = patchwise(y, lambda patches: gamma.expand(len(patches), 2), LENS, patch_px=patch_px, iterations=6)
    assert_close(found.psf, LENS.psf(gamma)[0, 0])
    assert_close(found.image, richardson_lucy(y, found.psf, iterations=6))
    assert found.gamma is None


def test_blur_that_varies_over_the_field_is_restored_better_than_with_one_psf(draw):
    """Defocus grows from left to right; the identifier is told the truth at the middle of each patch."""
    scene = torch.from_numpy(data.camera()[60:274, 100:394] / 255)
    truth = scene[7:-7, 7:-7]
    levels = torch.linspace(0, 0.3, 21, dtype=torch.float64)
    gammas = torch.stack([levels, 0 * levels], 1)
    layers = LENS.forward(scene[None, None].expand(21, 1, -1, -1), gammas)[:, 0]
    nearest = torch.linspace(0, 20, 280).round().long()
    y = layers.gather(0, nearest[None, None].expand(1, 200, 280))[0] + 0.01 * draw(200, 280)
    starts = torch.tensor([(r, c) for r in half_overlapping_starts(200, 64) for c in half_overlapping_starts(280, 64)])

    def oracle(patches):
        middle = nearest[starts[: len(patches), 1] + 32]
        return gammas[middle]

    found = patchwise(y, oracle, LENS, patch_px=64)
    single = richardson_lucy(y, found.psf)
    inside = (slice(10, -10), slice(10, -10))
    error, single_error = ((x - truth)[inside].square().mean() for x in (found.image, single))
    assert error < 0.8 * single_error


def test_a_network_and_a_psf_that_is_not_square(draw):
    basis, _ = torch.linalg.qr(draw(15, 2).abs())
    blur = EigenPSFBlur(basis.T.reshape(2, 5, 3))
    gamma = basis.sum(0, keepdim=True).sign() * torch.tensor([[1.0, 0.0]])
    found = patchwise(draw(40, 57).abs().float(), lambda patches: gamma.expand(len(patches), 2), blur)
    assert found.psf.shape == (5, 3)
    network = Identifier(2, arch="compact", widths=(4, 8)).eval()
    found = patchwise(draw(40, 57).abs().numpy(), network, LENS, patch_px=32, iterations=2)
    assert found.image.shape == (40, 57)
    assert found.image.dtype == torch.float64


def test_patches_cover_evenly_with_half_overlap():
    assert half_overlapping_starts(256, 128) == [0, 64, 128]
    assert half_overlapping_starts(100, 100) == [0]
    for side in range(33, 150):
        starts = half_overlapping_starts(side, 32)
        assert starts[-1] + 32 == side
        assert max(b - a for a, b in pairwise(starts)) <= 17


def test_bad_input_is_refused(draw):
    y = draw(40, 57)
    with pytest.raises(ValueError, match=r"patch_px is the side of a patch and at least 1; got 0"):
        patchwise(y, lambda p: torch.zeros(len(p), 2), LENS, patch_px=0)
    with pytest.raises(ValueError, match=r"one row of γ per patch; got \(1, 2\) for 6"):
        patchwise(y, lambda p: torch.zeros(1, 2), LENS, patch_px=30)
    with pytest.raises(ValueError, match=r"at least as large as the PSF"):
        patchwise(y[:9], lambda p: torch.zeros(len(p), 2), LENS)
    with pytest.raises(DivergedError, match=r"γ that are not finite on some of 1 patches"):
        patchwise(y, lambda p: torch.full((len(p), 2), torch.nan), LENS)
