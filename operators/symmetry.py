"""The eight turns and flips of the square, on images and on the Zernike coefficients of what blurred them.

Turning a blurry image turns the PSF, and with it the wavefront: (g·h)(x) = h(g⁻¹x) has the phase Σ γ_k Z_k(g⁻¹w). A
quarter turn or a flip exchanges the angular parts cos mθ and sin mθ or changes their signs, so that g acts on γ by a
signed permutation, without rounding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepblur.operators.pupil import ZernikeBlur
from deepblur.operators.zernike import noll_to_nm


@dataclass(frozen=True)
class Symmetry:
    """First a flip of left and right, if any, then quarter turns against the clock (as the image is displayed)."""

    quarter_turns: int
    """Against the clock, 0 to 3."""
    flipped: bool
    """Whether left and right change places first."""

    @property
    def inverse(self) -> "Symmetry":
        """What undoes it; a flip with a turn undoes itself."""
        return self if self.flipped else Symmetry(-self.quarter_turns % 4, False)

    def image(self, image: Tensor) -> Tensor:
        """(..., H, W) → (..., H, W), or (..., W, H) after an odd number of quarter turns."""
        return torch.rot90(image.flip(-1) if self.flipped else image, self.quarter_turns, (-2, -1))

    def keeps(self, operator: ZernikeBlur) -> bool:
        """Whether the family holds the image of each of its PSFs: whether its modes map to modes of its own."""
        return all(source in operator.noll for source, _ in map(self._origin, operator.noll))

    def gamma(self, operator: ZernikeBlur, gamma: Tensor) -> Tensor:
        """The coefficients (B, K) of the turned wavefronts: operator.psf of them is `image(operator.psf(gamma))`.

        Raises:
            ValueError: the family lacks the partner of one of its modes, or gamma is not (B, K).
        """
        if gamma.ndim != 2 or gamma.shape[1] != operator.num_parameters:
            raise ValueError(f"gamma has the shape (batch, {operator.num_parameters}); got {tuple(gamma.shape)}")
        if not self.keeps(operator):
            lost = sorted({source for source, _ in map(self._origin, operator.noll)} - set(operator.noll))
            raise ValueError(
                f"a quarter turn needs both partners of coma, trefoil and their like; the modes {operator.noll} lack "
                f"Noll {', '.join(map(str, lost))}; use the elements that symmetries_of(operator) gives"
            )
        origins = [self._origin(noll) for noll in operator.noll]
        order = [operator.noll.index(source) for source, _ in origins]
        return gamma[:, order] * gamma.new_tensor([sign for _, sign in origins])

    def _origin(self, noll: int) -> tuple[int, int]:
        """(Noll index, sign) of the old coefficient that becomes the one of this mode.

        A flip takes θ to π − θ, a quarter turn (rows count downwards) to θ + π/2.
        """
        n, m = noll_to_nm(noll)
        sign = 1
        for _ in range(self.quarter_turns % 4):
            if m % 2:
                sign *= 1 if m % 4 == 1 else -1  # sin(|m|π/2) for the cosine, −sin(|m|π/2) for the sine
                m = -m
            else:
                sign *= (-1) ** (m // 2)
        if self.flipped:
            sign *= (-1) ** m if m >= 0 else -((-1) ** m)
        return _noll(n, m), sign


def symmetries_of(operator: ZernikeBlur) -> tuple[Symmetry, ...]:
    """The elements that the family is closed under, the identity first.

    Args:
        operator: the family; what counts are its modes.
    Returns:
        All eight, or the four without quarter turns where coma, trefoil or their like lack a partner.
    """
    return tuple(symmetry for symmetry in SQUARE if symmetry.keeps(operator))


def _noll(n: int, m: int) -> int:
    first = n * (n + 1) // 2 + 1
    return next(noll for noll in range(first, first + n + 1) if noll_to_nm(noll) == (n, m))


SQUARE = tuple(Symmetry(turns, flipped) for flipped in (False, True) for turns in range(4))
"""All eight, the identity first."""
