"""The grid on which versions of the model are judged: the same observations for all versions, for good.

A change of anything here makes another grid and therefore needs another name: figures of two grids do not compare. A
test holds the fingerprint of the observations.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from deepblur.operators import PoissonGaussian, UniformGamma, ZernikeBlur
from deepblur.platform.data.observations import Batch, observe
from deepblur.platform.data.sources import Photos
from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.evaluation.metrics import psf_snr_db, psnr_db, ssim
from deepblur.platform.models.model import BlindModel
from deepblur.platform.system.seeds import generator

CELL = ("family", "noise", "eta_waves")
"""Columns that name a cell; within one, `PAIR` names an observation."""
PAIR = ("image", "draw")


@dataclass(frozen=True, kw_only=True)
class GateGrid:
    """Families of aberrations × PSF complexity × noise, on photographs that no preset trains on."""

    name: str
    families: tuple[tuple[int, ...], ...]
    """Noll indices of the modes that blur."""
    eta_waves: tuple[float, ...]
    noise: tuple[NoiseLevel, ...]
    photographs: Photos
    images: int
    """How many photographs, the first ones."""
    draws: int
    """Observations per photograph and cell; crop and direction of γ are shared by the cells of a family."""
    crop_px: int
    seed: int = 0

    def observations(self) -> Iterator[tuple[pd.DataFrame, Batch]]:
        """For each family and photograph, rows (`CELL` and `PAIR`) and the observations that they name."""
        for noll in self.families:
            operator = ZernikeBlur(noll=noll)
            for i in range(self.images):
                yield self._of_image(operator, *photograph(self.photographs, i), i)

    def fingerprint(self) -> str:
        """12 hexadecimal digits of what the grid is made from: its numbers and the bytes of its photographs."""
        digest = hashlib.sha256(repr(self).encode())
        for path in self.photographs.files()[: self.images]:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def _of_image(self, operator: ZernikeBlur, name: str, image: Tensor, position: int) -> tuple[pd.DataFrame, Batch]:
        family = _family(operator)
        h, w = operator.input_size((self.crop_px, self.crop_px))
        rng = generator(self.seed, f"gate crop {family}", position)
        rows_px = torch.randint(image.shape[-2] - h + 1, (self.draws,), generator=rng).tolist()
        columns_px = torch.randint(image.shape[-1] - w + 1, (self.draws,), generator=rng).tolist()
        crops = torch.cat([image[..., r : r + h, c : c + w] for r, c in zip(rows_px, columns_px, strict=True)])
        unit = UniformGamma(1.0, operator.num_parameters).sample(
            self.draws, generator(self.seed, f"gate gamma {family}", position)
        )
        rows, parts = [], []
        for eta_waves in self.eta_waves:
            for level in self.noise:
                noise = PoissonGaussian(level.gain, level.read_std)
                rng = generator(self.seed, f"gate noise {family}", position)
                parts.append(observe(crops, eta_waves * unit, noise, operator, rng))
                cell = {"family": family, "noise": level.name, "eta_waves": eta_waves, "image": name}
                rows += [cell | {"draw": draw} for draw in range(self.draws)]
        return pd.DataFrame(rows), Batch.concatenate(parts)


GRID = GateGrid(
    name="grid 1",
    families=((4, 5, 6), (4, 5, 6, 7, 8, 9, 10)),
    eta_waves=(0.05, 0.10, 0.15),
    noise=(
        NoiseLevel("clean", gain=0.0, read_std=0.0),
        NoiseLevel("low", gain=0.0, read_std=0.01),
        NoiseLevel("higher", gain=0.005, read_std=0.02),
    ),
    photographs=Photos("test"),
    images=7,
    draws=1,
    crop_px=120,
)


def score(model: BlindModel, grid: GateGrid) -> pd.DataFrame:
    """How well a model restores the observations of the grid.

    Returns:
        Columns `CELL`, `PAIR`, psnr_db, ssim, psf_snr_db and blurry_psnr_db, blurry_ssim of doing nothing; NaN where
        the model gives values that are not finite. Borders of half a PSF are cut.
    Raises:
        ValueError, RuntimeError: the model refuses an observation.
    """
    tables = []
    for rows, batch in grid.observations():
        found = model.restore(batch.blurry)
        finite = found.image.isfinite().flatten(1).all(1) & found.psf.isfinite().flatten(1).all(1)
        image = torch.where(finite[:, None, None, None], found.image, batch.blurry)
        psf = torch.where(finite[:, None, None, None], _fitted(found.psf, batch.psf), batch.psf)
        border = batch.psf.shape[-1] // 2
        scores = {
            "psnr_db": psnr_db(image, batch.sharp, border),
            "ssim": ssim(image, batch.sharp, border),
            "psf_snr_db": psf_snr_db(psf, batch.psf),
        }
        columns = {name: value.where(finite, torch.nan) for name, value in scores.items()}
        columns["blurry_psnr_db"] = psnr_db(batch.blurry, batch.sharp, border)
        columns["blurry_ssim"] = ssim(batch.blurry, batch.sharp, border)
        tables.append(rows.assign(**{name: value.double().numpy() for name, value in columns.items()}))
    return pd.concat(tables, ignore_index=True)


@cache
def photograph(source: Photos, position: int) -> tuple[str, Tensor]:
    """Name and pixels (1, 1, H, W) in [0, 1] of one photograph."""
    entry = source.entries()[position]
    return entry.name, torch.from_numpy(entry.load().astype(np.float32))[None, None]


def _family(operator: ZernikeBlur) -> str:
    return f"Noll {min(operator.noll)}–{max(operator.noll)}"


def _fitted(psf: Tensor, like: Tensor) -> Tensor:
    """A PSF of another support on that of the truth: cut or filled with zeros around its middle."""
    grow = (like.shape[-1] - psf.shape[-1]) // 2, (like.shape[-2] - psf.shape[-2]) // 2
    return torch.nn.functional.pad(psf, (grow[0], grow[0], grow[1], grow[1])).to(like)
