"""Phase retrieval: a compact kernel comes back from its modulus alone, up to mirror and shift."""

import pytest
import torch
from streak import streak
from torch.nn.functional import pad
from torch.testing import assert_close

from deepblur.baselines.phase_retrieval import random_starts, retrieve_phase, tidy
from deepblur.platform.evaluation.metrics import registered_psf_snr_db


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_compact_kernel_is_recovered_up_to_mirror_and_shift(rng, dtype):
    kernel = streak(11)
    modulus = torch.fft.rfft2(pad(kernel, (0, 34, 0, 34))).abs().to(dtype)
    found = retrieve_phase(modulus, 11, random_starts(modulus, 12, rng))
    assert found.dtype == dtype
    same, mirrored = (
        registered_psf_snr_db(found[:, None], truth.expand(12, 1, 11, 11)) for truth in (kernel, kernel.flip((-2, -1)))
    )
    assert torch.maximum(same, mirrored).max() > 25
    assert (torch.maximum(same, mirrored) > 15).sum() >= 6


def test_starts_have_the_given_modulus_where_a_real_part_keeps_it_and_depend_on_the_seed_alone():
    modulus = torch.fft.rfft2(pad(streak(11), (0, 34, 0, 34))).abs()
    first, same, other = (random_starts(modulus, 2, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert_close(torch.fft.rfft2(first)[..., 1:].abs(), modulus[:, 1:].expand(2, -1, -1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_kernel_is_clipped_freed_of_dust_centred_and_normalised():
    raw = torch.full((1, 9, 9), 1e-3)
    raw[0, 1, 1], raw[0, 1, 3], raw[0, 8, 8] = 2.0, 2.0, -1.0
    expected = torch.zeros(9, 9)
    expected[4, 3] = expected[4, 5] = 0.5
    assert_close(tidy(raw)[0], expected)


def test_a_kernel_so_flat_that_all_is_dust_is_zero():
    assert (tidy(torch.ones(1, 31, 31)) == 0).all()
