"""Ways to know a blur that varies over the field from one image: the whole field at once, patch by patch, or both.

Each gives the PSFs all over the field, and the operator with its parameters that a deblurring network can invert.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepblur.operators import Blur, EigenPSFBlur, ProductConvolutionBlur
from deepblur.platform.optics.family import PLACES, FieldBlur, fitted, mosaic
from deepblur.platform.optics.field_maps import pixel_places

SOURCES = ("patches", "fitted", "average", "calibrated")
"""patches: coefficients of the eigen-PSFs in 5 × 5 patches, each for itself, and between them in proportion to the
distance; the classical way. fitted: the γ of the whole field that comes nearest to those patches. average: what IN says
of the whole field, taken to be the same everywhere: what a model without variation can know at best. calibrated: the γ
that comes nearest to the true PSFs, which only a simulation knows: what the calibrated family can say at best."""


@dataclass(frozen=True)
class FieldEstimate:
    """A blur all over the field."""

    psf: Tensor
    """(5h, 5w), the PSFs at 5 × 5 places side by side, as `FieldBlur.psf`."""
    operator: Blur
    """The operator that `gamma` belongs to, for images of this size."""
    gamma: Tensor
    """(1, K)."""


def identify_field(
    source: str, networks: Mapping[str, nn.Module], y: Tensor, family: FieldBlur, patch_px: int
) -> FieldEstimate:
    """The blur of one image by one of the SOURCES.

    Args:
        networks: "identify" is an IN of the whole field for "average", of patches (K = I) for the others.
        y: (H, W), all of the field.
        family: of the whole field.
        patch_px: side of the patches, what their IN was trained on.
    """
    optics = family.optics
    if source == "average":
        gamma = family.settled(networks["identify"](y[None, None]).float())
        mean = optics.space_maps.mean((1, 2)).to(gamma)
        same = gamma.unflatten(1, optics.shape) @ mean  # (1, I)
        solver = family.cg_iterations, family.cg_tolerance
        everywhere = EigenPSFBlur(optics.eigen_psfs.to(gamma), family.boundary, *solver)
        psf = everywhere.psf(same)[0, 0]
        return FieldEstimate(psf.tile(PLACES, PLACES), everywhere, same)
    at = pixel_places(PLACES)
    places = torch.cartesian_prod(at, at)
    coefficients = networks["identify"](_patches(y, places, patch_px)).float()  # (25, I)
    if source == "fitted":
        gamma = family.settled(fitted(optics, coefficients, places)[0][None])
        return FieldEstimate(family.psf(gamma)[0, 0], family, gamma)
    light = coefficients @ optics.eigen_psfs.sum((1, 2)).to(coefficients)
    known = float(optics.light(optics.gammas).mean())
    coefficients = coefficients * (known / light.clamp_min(0.2 * known))[:, None]
    psfs = torch.einsum("ni,ihw->nhw", coefficients, optics.eigen_psfs.to(coefficients))
    size = family.input_size((y.shape[-2], y.shape[-1]))
    operator = ProductConvolutionBlur(optics.eigen_psfs.to(coefficients), _hats(size).to(coefficients), family.boundary,
                                      family.cg_iterations, family.cg_tolerance)  # fmt: skip
    return FieldEstimate(mosaic(psfs[None])[0, 0], operator, coefficients.T.flatten()[None])


def nearest(family: FieldBlur, psf: Tensor) -> Tensor:
    """(1, K): the γ of the family whose PSFs (5h, 5w) come nearest to those given."""
    basis = family.psf(torch.eye(family.num_parameters, dtype=torch.float64)).flatten(1)  # linear in γ
    return torch.linalg.lstsq(basis.mT, psf.double().flatten()[:, None]).solution.mT.to(psf)


def _patches(y: Tensor, places: Tensor, side: int) -> Tensor:
    """(N, 1, side, side): the parts of y around places of the field, moved inwards where the border is near."""
    H, W = y.shape
    side = min(side, H, W)
    corners = [
        [min(max(round((float(p) + 1) / 2 * n - side / 2), 0), n - side) for p, n in zip(place, (H, W), strict=True)]
        for place in places
    ]
    return torch.stack([y[r : r + side, c : c + side] for r, c in corners])[:, None]


def _hats(size: tuple[int, int]) -> Tensor:
    """(25, H, W): for each place its share in a bilinear interpolation between the places, constant beyond the last."""
    sides = []
    for n in size:
        position = (pixel_places(n) + 1) / 2 * PLACES - 0.5
        sides.append((1 - (position.clamp(0, PLACES - 1) - torch.arange(PLACES)[:, None]).abs()).clamp_min(0))
    return (sides[0][:, None, :, None] * sides[1][None, :, None, :]).flatten(0, 1)
