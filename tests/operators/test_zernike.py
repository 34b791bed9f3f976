import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepblur.operators import noll_to_nm, zernike

NOLL_TABLE = {
    1: (0, 0), 2: (1, 1), 3: (1, -1), 4: (2, 0), 5: (2, -2), 6: (2, 2), 7: (3, -1), 8: (3, 1), 9: (3, -3), 10: (3, 3),
    11: (4, 0), 12: (4, 2), 13: (4, -2), 14: (4, 4), 15: (4, -4), 16: (5, 1), 17: (5, -1), 18: (5, 3), 19: (5, -3),
    20: (5, 5), 21: (5, -5), 22: (6, 0), 23: (6, -2), 24: (6, 2), 27: (6, -6), 28: (6, 6), 37: (8, 0),
}  # fmt: skip


def test_noll_indices_agree_with_the_published_table():
    assert {noll: noll_to_nm(noll) for noll in NOLL_TABLE} == NOLL_TABLE


def test_modes_are_orthonormal_over_the_disc():
    # A polar product rule that integrates polynomials up to degree 60 exactly.
    nodes, weights = np.polynomial.legendre.leggauss(32)
    rho = torch.from_numpy(np.sqrt((nodes + 1) / 2))[:, None]
    theta = torch.arange(64, dtype=torch.float64)[None] * 2 * torch.pi / 64
    values = zernike(range(1, 67), rho * theta.cos(), rho * theta.sin()).flatten(1)
    weight = (torch.from_numpy(weights / 2)[:, None] / 64).expand(32, 64).flatten()
    assert_close((values * weight) @ values.T, torch.eye(66, dtype=torch.float64), rtol=0, atol=1e-12)


def test_low_orders_are_the_familiar_formulas(draw):
    u, v = draw(50), draw(50)
    r2 = u**2 + v**2
    expected = {
        1: 1 + 0 * u, 2: 2 * u, 3: 2 * v, 4: 3**0.5 * (2 * r2 - 1), 5: 6**0.5 * 2 * u * v, 6: 6**0.5 * (u**2 - v**2),
        7: 8**0.5 * (3 * r2 - 2) * v, 8: 8**0.5 * (3 * r2 - 2) * u, 11: 5**0.5 * (6 * r2**2 - 6 * r2 + 1),
    }  # fmt: skip
    for noll, formula in expected.items():
        assert_close(zernike(noll, u, v), formula, rtol=1e-12, atol=1e-11)


def test_high_orders_keep_their_digits():
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    noll = 60 * 61 // 2 + 1  # n = 60, m = 0: R(1) = 1, R(0) = (−1)^30
    assert noll_to_nm(noll) == (60, 0)
    assert_close(zernike(noll, one, zero), 61**0.5 * one, rtol=1e-12, atol=0)
    assert_close(zernike(noll, zero, zero), 61**0.5 * one, rtol=1e-12, atol=0)


def test_an_index_below_one_is_refused():
    with pytest.raises(ValueError, match=r"start at 1 \(piston\); got 0"):
        noll_to_nm(0)
