"""Zernike polynomials in Noll's order and normalisation, for any index.

Source: R. J. Noll, "Zernike polynomials and atmospheric turbulence", JOSA 66(3), 1976.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def noll_to_nm(noll: int) -> tuple[int, int]:
    """Radial order n and signed azimuthal order m of a Noll index: m > 0 is the cosine, m < 0 the sine.

    Args:
        noll: 1 piston, 2 and 3 tilt, 4 defocus, 5 and 6 astigmatism, 7 and 8 coma, 9 and 10 trefoil, 11 spherical, ….
    Returns:
        (n, m), |m| ≤ n.
    Raises:
        ValueError: noll is below 1.
    Source: Noll 1976, table I.
    """
    if noll < 1:
        raise ValueError(f"Noll indices start at 1 (piston); got {noll}; use 4 for defocus")
    n = (math.isqrt(8 * noll - 7) - 1) // 2
    place = noll - n * (n + 1) // 2  # 1 … n + 1 within the order n
    m = 2 * (place // 2) if n % 2 == 0 else 2 * ((place - 1) // 2) + 1
    return n, m if noll % 2 == 0 else -m


_NAMES = {
    1: "piston",
    2: "horizontal tilt",
    3: "vertical tilt",
    4: "defocus",
    5: "oblique astigmatism",
    6: "vertical astigmatism",
    7: "vertical coma",
    8: "horizontal coma",
    9: "vertical trefoil",
    10: "oblique trefoil",
    11: "primary spherical",
    12: "vertical secondary astigmatism",
    13: "oblique secondary astigmatism",
    14: "vertical quadrafoil",
    15: "oblique quadrafoil",
}


def zernike_name(noll: int) -> str:
    """What opticians call a mode, such as "defocus"; beyond Noll 15 its orders, such as "Z(5, 1)".

    Args:
        noll: Noll index, at least 1.
    Raises:
        ValueError: noll is below 1.
    """
    n, m = noll_to_nm(noll)
    return _NAMES.get(noll, f"Z({n}, {m})")


def zernike(noll: int | Sequence[int], u: Tensor, v: Tensor) -> Tensor:
    """Values of Zernike polynomials with unit mean square over the unit disc.

    Args:
        noll: one Noll index, or K of them.
        u, v: horizontal and vertical pupil coordinates in units of the pupil radius, one shape, real.
    Returns:
        The shape of u for one index, (K, *u.shape) for a sequence. Outside the disc the polynomial goes on, unmasked.
    Raises:
        ValueError: an index is below 1.
    Source: Noll 1976, equation 1.
    """
    if not isinstance(noll, int):
        return torch.stack([zernike(index, u, v) for index in noll])
    n, m = noll_to_nm(noll)
    rho, theta = torch.hypot(u, v), torch.atan2(v, u)
    radial = _radial(n, abs(m), rho)
    if m == 0:
        return math.sqrt(n + 1) * radial
    angular = torch.cos(m * theta) if m > 0 else torch.sin(-m * theta)
    return math.sqrt(2 * (n + 1)) * radial * angular


def _radial(n: int, m: int, rho: Tensor) -> Tensor:
    """R_n^m(ρ) = ρ^m P_k^(0, m)(2ρ² − 1), k = (n − m)/2, by the three-term recurrence of the Jacobi polynomials.

    The textbook sum of factorials loses all digits near n = 40; the recurrence does not.
    """
    x = 2 * rho**2 - 1
    before, now = torch.zeros_like(rho), torch.ones_like(rho)
    for k in range(1, (n - m) // 2 + 1):
        if k == 1:
            before, now = now, 1 + (m + 2) * (x - 1) / 2
            continue
        c = 2 * k + m
        ahead = (c - 1) * (c * (c - 2) * x - m * m) * now - 2 * (k - 1) * (k + m - 1) * c * before
        before, now = now, ahead / (2 * k * (k + m) * (c - 2))
    return rho**m * now
