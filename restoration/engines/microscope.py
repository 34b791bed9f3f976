"""Restoring images of a calibrated microscope: one γ for the whole field, read from patches that lie all over it.

Every patch tells the coefficients of the eigen-PSFs where it lies; the field's γ is the one that fits them best,
patches with more structure counting more. So the reading does not depend on the size of the field, and says how sure
it is.
"""

from typing import Any

import torch
from torch import Tensor

from deepblur.baselines.estimate import richest_part
from deepblur.operators import noise_std_of
from deepblur.platform.models.light import Removal
from deepblur.platform.models.readings import window_corners
from deepblur.platform.models.reliability import WITNESS_PX, Residual, residual_of
from deepblur.platform.models.trained_range import NOISE_MARGIN
from deepblur.platform.optics.family import PLACES, fitted
from deepblur.platform.optics.field_maps import pixel_places
from deepblur.platform.optics.networks import TrainedOptics
from deepblur.platform.optics.optics_file import Optics
from deepblur.platform.system.errors import InputError
from deepblur.restoration.engines.engine import Engine, IdentifiedBlur, hash_of
from deepblur.restoration.engines.removal import network_bytes

MOST_PATCHES = 144
"""Patches that are read of an image, at most."""
_AT_ONCE = 32
BEYOND = 0.5
"""A coefficient that leaves the range of the calibrated states by this share of it deserves a word."""
KNOWN_DB = 6.0
"""Below this signal to error, by the scatter of the patches, the PSFs are hardly better known than their mean."""


class OpticsEngine(Engine):
    """IN of patches and DN of a calibrated microscope."""

    whole_field = True

    def __init__(self, trained: TrainedOptics, name: str, device: str) -> None:
        self.trained, self.name, self.restorer, self.device = trained, name, "deblur", device
        self.card, self.psf_size = trained.card, trained.optics.psf_size
        self.bytes_per_px = network_bytes(trained.deblurrer) + 4.0 * 6 * len(self.optics.eigen_psfs)
        self._noise_std = 0.0

    @property
    def optics(self) -> Optics:
        return self.trained.optics

    def check(self, size: tuple[int, int], pixel_um: float | None) -> None:
        self.optics.check_image(size, pixel_um)

    def described(self) -> dict[str, Any]:
        described = super().described() | {"weights": hash_of(self.trained.identifier, self.trained.deblurrer)}
        described["optics"]["calibration"] = self.trained.source.digest
        return described | {"device": self.device}

    @torch.inference_mode()
    def identify(self, y: Tensor) -> IdentifiedBlur:
        self._noise_std = float(noise_std_of(y))
        patches, places = _patches(y, self.trained.patch_px)
        if len(patches) < self.optics.shape[1]:
            raise InputError(
                f"{len(patches)} patches of {self.trained.patch_px} pixels cannot tell {self.optics.shape[1]} spatial "
                "maps; calibrate with fewer --space-maps"
            )
        groups = patches.to(self.device).split(_AT_ONCE)
        read = torch.cat([self.trained.identifier(group).float().cpu() for group in groups])  # (N, I)
        weight = patches.std((1, 2, 3))
        weight = weight / weight.mean().clamp_min(1e-12)
        gamma, std = fitted(self.optics, read, places, weight)
        gamma = self.optics.normalised(gamma[None])[0]
        centre = self.optics.local_psfs(gamma[None], torch.zeros(1, 2))[0, 0]
        return IdentifiedBlur(centre / centre.sum().clamp_min(1e-6), gamma, std)

    def places(self, found: IdentifiedBlur, size: tuple[int, int]) -> dict[tuple[int, int], IdentifiedBlur]:
        assert found.gamma is not None
        at = pixel_places(PLACES)
        psfs = self.optics.local_psfs(found.gamma[None], torch.cartesian_prod(at, at))[0]
        middles = [[int((float(p) + 1) / 2 * side) for p in at] for side in size]
        pairs = [(row, column) for row in middles[0] for column in middles[1]]
        return {pair: IdentifiedBlur(psf) for pair, psf in zip(pairs, psfs, strict=True)}

    def prepare(self, y: Tensor, found: IdentifiedBlur) -> Removal:
        assert found.gamma is not None
        gamma = found.gamma[None].to(self.device)
        size = (y.shape[-2], y.shape[-1])

        @torch.inference_mode()
        def restore(tile: Tensor, place: tuple[int, int]) -> Tensor:
            side = (tile.shape[-2], tile.shape[-1])
            corner = (place[0] - side[0] // 2, place[1] - side[1] // 2)
            operator = self.optics.operator(size, boundary="replicate", corner=corner, tile=side)
            return self.trained.deblurrer(tile[None, None].to(self.device), gamma, operator)[0, 0].float().cpu()

        return Removal(restore, {"restorer": "deblur"})

    def residual(self, y: Tensor, restored: Tensor, found: IdentifiedBlur) -> Residual:
        """That of the part with most structure, for the PSF in its middle."""
        assert found.gamma is not None
        rows, columns = richest_part(y, WITNESS_PX)
        middle = [(part.start + part.stop) / side - 1 for part, side in zip((rows, columns), y.shape, strict=True)]
        psf = self.optics.local_psfs(found.gamma[None], torch.tensor([middle]))[0, 0]
        return residual_of(y[rows, columns], restored[rows, columns], psf)

    def limits(self, found: IdentifiedBlur) -> tuple[str, ...]:
        assert found.gamma is not None
        assert found.gamma_std is not None
        flags = []
        low, high = self.optics.box
        reach = (high - low).clamp_min(1e-6)
        outside = ((low - found.gamma) / reach).maximum((found.gamma - high) / reach)
        if float(outside.max()) > BEYOND:
            flags.append(
                f"{int((outside > BEYOND).sum())} of {len(outside)} coefficients lie outside of what the calibration "
                "has seen: the focus, the slide or the microscope is another"
            )
        known_db = 10 * float(torch.log10(found.gamma.square().sum() / found.gamma_std.square().sum().clamp_min(1e-20)))
        if known_db < KNOWN_DB:
            flags.append(f"the patches disagree: the PSFs are known to {known_db:.0f} dB only")
        most = self.card.get("noise_std")
        if isinstance(most, (int, float)) and self._noise_std > NOISE_MARGIN * most:
            flags.append(
                f"the noise, {self._noise_std:.3g} of the full scale, is above the {most:.3g} that the networks have "
                "seen"
            )
        return tuple(flags)


def _patches(y: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """(N, 1, side, side) patches all over y (H, W), and the places (N, 2) of their middles in the field."""
    H, W = y.shape
    h, w = min(side, H), min(side, W)
    corners = window_corners((H, W), side, MOST_PATCHES)
    places = [[(2 * r + h) / H - 1, (2 * c + w) / W - 1] for r, c in corners]
    patches = torch.stack([y[r : r + h, c : c + w] for r, c in corners])[:, None]
    return patches, torch.tensor(places, dtype=torch.float64)
