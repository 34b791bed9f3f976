"""Turns and flips of the square act on γ as they act on the PSF."""

import pytest
import torch
from torch.testing import assert_close

from deepblur.operators import SQUARE, ZernikeBlur, symmetries_of

LENS = ZernikeBlur(noll=(4, 5, 6, 7, 8, 9, 10, 11, 12, 13), psf_size=15, pupil_size=48)


@pytest.mark.parametrize("symmetry", SQUARE, ids=str)
@pytest.mark.parametrize("z_px", [0.0, 2.0])
def test_the_psf_of_the_turned_coefficients_is_the_turned_psf(symmetry, z_px, draw):
    lens = ZernikeBlur(LENS.noll, psf_size=15, z_px=z_px, wavenumber=0.5, pupil_size=48)
    gamma = 0.1 * draw(2, 10)
    turned = symmetry.gamma(lens, gamma)
    assert_close(lens.psf(turned), symmetry.image(lens.psf(gamma)), rtol=0, atol=1e-14)
    assert torch.equal(turned.abs().sort().values, gamma.abs().sort().values)  # a signed permutation


@pytest.mark.parametrize("symmetry", SQUARE, ids=str)
def test_the_twin_of_the_turned_is_the_turned_twin_and_the_inverse_undoes(symmetry, draw):
    gamma, image = draw(3, 10), draw(2, 1, 5, 8)
    assert_close(LENS.twin(symmetry.gamma(LENS, gamma)), symmetry.gamma(LENS, LENS.twin(gamma)), rtol=0, atol=0)
    assert torch.equal(symmetry.inverse.gamma(LENS, symmetry.gamma(LENS, gamma)), gamma)
    assert torch.equal(symmetry.inverse.image(symmetry.image(image)), image)


def test_the_eight_are_different(draw):
    gamma = draw(1, 10)
    assert len({tuple(symmetry.gamma(LENS, gamma)[0].tolist()) for symmetry in SQUARE}) == 8
    assert len(symmetries_of(LENS)) == 8


def test_a_family_without_partners_falls_back_to_half_turns_and_flips(draw):
    lens = ZernikeBlur(noll=(4, 6, 7, 11), psf_size=15)  # coma 7 without 8
    kept = symmetries_of(lens)
    assert [(s.quarter_turns, s.flipped) for s in kept] == [(0, False), (2, False), (0, True), (2, True)]
    gamma = 0.1 * draw(1, 4)
    for symmetry in kept:
        assert_close(lens.psf(symmetry.gamma(lens, gamma)), symmetry.image(lens.psf(gamma)), rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match=r"lack Noll 8; use the elements that symmetries_of"):
        SQUARE[1].gamma(lens, gamma)
    with pytest.raises(ValueError, match=r"shape \(batch, 4\); got \(4,\)"):
        SQUARE[0].gamma(lens, gamma[0])
