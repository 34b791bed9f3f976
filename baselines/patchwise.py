"""PSFs identified patch by patch, and Richardson–Lucy with their smooth blend: for blur that varies over the field."""

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from deepblur.baselines.estimate import DivergedError, Estimate, check_image
from deepblur.baselines.nonblind import maximize_likelihood, observe
from deepblur.nets.identifier import half_overlapping_starts
from deepblur.operators import Blur


@torch.no_grad()
def patchwise(
    image: np.ndarray | Tensor,
    identifier: Callable[[Tensor], Tensor],
    operator: Blur,
    *,
    patch_px: int = 128,
    iterations: int | None = None,
    noise_std: float | None = None,
) -> Estimate:
    """Identify a PSF on half-overlapping patches, then restore with all of them blended.

    The PSFs are blended rather than the parameters, because γ and its twin have one PSF and a mean without meaning.

    Args:
        image: (H, W), intensity in [0, 1].
        identifier: (P, 1, h, w) float32 patches → (P, K) parameters, such as a trained `deepblur.nets.Identifier`; on
            the image's device.
        operator: the family whose PSF γ describes, the same everywhere in a patch.
        patch_px: side of the patches; a smaller image is one patch.
        iterations: of Richardson–Lucy, as `deepblur.baselines.richardson_lucy`.
        noise_std: σ in intensity units, for the default iterations; None estimates it.
    Returns:
        The restored image and the mean of the PSFs; no γ, for there is one per patch.
    Raises:
        ValueError: what `check_image` refuses, patch_px below 1, or not one row of γ per patch.
        DivergedError: the identifier gave γ that are not finite.
    Source: Shajkofci and Liebling, IEEE TIP 29, 2020 (a network regresses the PSF's parameters per patch; spatially
        varying Richardson–Lucy); Nagy and O'Leary, SIAM J. Sci. Comput. 19(4), 1998 (blending).
    """
    data = check_image(image, max(operator.psf_shape))
    if patch_px < 1:
        raise ValueError(f"patch_px is the side of a patch and at least 1; got {patch_px}; take the training size")
    sides = [min(patch_px, side) for side in data.shape]
    rows, columns = (half_overlapping_starts(side, size) for side, size in zip(data.shape, sides, strict=True))
    patches = torch.stack([data[r : r + sides[0], c : c + sides[1]] for r, c in product(rows, columns)])
    gamma = identifier(patches[:, None].float())
    if len(gamma) != len(patches):
        raise ValueError(f"the identifier gives one row of γ per patch; got {tuple(gamma.shape)} for {len(patches)}")
    if not torch.isfinite(gamma).all():
        raise DivergedError(f"the identifier gave γ that are not finite on some of {len(patches)} patches")
    psfs = operator.psf(gamma.to(data))[:, 0]
    mean = psfs.mean(0)
    blur = PatchBlur(psfs.clamp(min=0).unflatten(0, (len(rows), len(columns))), (rows, columns), (sides[0], sides[1]))
    if iterations is None:
        iterations = observe(data, mean, noise_std).stop
    scene = maximize_likelihood(data, blur.forward, blur.adjoint, iterations=iterations)
    (top, left), (H, W) = (side // 2 for side in operator.psf_shape), data.shape
    return Estimate(image=scene[top : top + H, left : left + W], psf=mean)


class PatchBlur:
    """A x = Σ_p h_p ⋆ (w_p ⊙ x), from a scene (H + h − 1, W + w − 1) to the data (H, W) that it determines.

    The weights w_p ≥ 0 sum to 1 everywhere; each is a smooth bump over the part of the scene that its patch sees, so
    that one small FFT per patch is enough. The response at a point z is Σ_p w_p[z] h_p.

    Args:
        psfs: (R, C, h, w) for R×C patches; equal PSFs give exactly their convolution.
        starts: first data rows of the R and first data columns of the C patches; the patches cover the data.
        patch: (rows, columns) of a patch, in data pixels.
    """

    def __init__(self, psfs: Tensor, starts: tuple[list[int], list[int]], patch: tuple[int, int]):
        self._starts = starts
        self._kernel = h, w = psfs.shape[-2], psfs.shape[-1]
        self._view = patch[0] + h - 1, patch[1] + w - 1  # what a patch sees of the scene
        self._data = starts[0][-1] + patch[0], starts[1][-1] + patch[1]
        self._torus = next_fast_len(self._view[0] + h - 1, real=True), next_fast_len(self._view[1] + w - 1, real=True)
        self._otf = torch.fft.rfft2(psfs, s=self._torus)  # (R, C, ...), the PSF's corner as its origin
        of_rows, of_columns = (_partition(s, n, psfs) for s, n in zip(starts, self._view, strict=True))
        self._weights = of_rows[:, None, :, None] * of_columns[None, :, None, :]  # (R, C, rows, columns)

    def forward(self, scene: Tensor) -> Tensor:
        """(H + h − 1, W + w − 1) → (H, W)."""
        (H, W), (h, w) = self._data, self._kernel
        spread = scene.new_zeros(H + 2 * (h - 1), W + 2 * (w - 1))  # wherever the scene sends light
        for i, otf in enumerate(self._otf):
            parts = torch.fft.rfft2(self._cut(scene, i, self._view) * self._weights[i], s=self._torus)
            self._add(spread, i, torch.fft.irfft2(parts * otf, s=self._torus), self._reach)
        return spread[h - 1 : h - 1 + H, w - 1 : w - 1 + W]

    def adjoint(self, data: Tensor) -> Tensor:
        """Transpose of forward: (H, W) → (H + h − 1, W + w − 1)."""
        (H, W), (h, w) = self._data, self._kernel
        spread = torch.nn.functional.pad(data, (w - 1, w - 1, h - 1, h - 1))
        scene = data.new_zeros(H + h - 1, W + w - 1)
        for i, otf in enumerate(self._otf):
            parts = torch.fft.rfft2(self._cut(spread, i, self._reach), s=self._torus)
            back = torch.fft.irfft2(parts * otf.conj(), s=self._torus)[:, : self._view[0], : self._view[1]]
            self._add(scene, i, back * self._weights[i], self._view)
        return scene

    @property
    def _reach(self) -> tuple[int, int]:
        """Where the view of a patch sends its light."""
        return self._view[0] + self._kernel[0] - 1, self._view[1] + self._kernel[1] - 1

    def _cut(self, x: Tensor, i: int, size: tuple[int, int]) -> Tensor:
        """The parts (C, *size) of x that belong to the patches of row i."""
        row = x[self._starts[0][i] : self._starts[0][i] + size[0]]
        return torch.stack([row[:, c : c + size[1]] for c in self._starts[1]])

    def _add(self, x: Tensor, i: int, parts: Tensor, size: tuple[int, int]) -> None:
        """Transpose of _cut, added to x in place."""
        row = x[self._starts[0][i] : self._starts[0][i] + size[0]]
        for c, part in zip(self._starts[1], parts, strict=True):
            row[:, c : c + size[1]] += part[: size[0], : size[1]]


def _partition(starts: list[int], size: int, like: Tensor) -> Tensor:
    """(len(starts), size): sin² bumps at the starts, divided by their sum."""
    ramp = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size
    bump = (torch.pi * ramp).sin().square()
    total = like.new_zeros(starts[-1] + size)
    for start in starts:
        total[start : start + size] += bump
    return torch.stack([bump / total[start : start + size] for start in starts])
