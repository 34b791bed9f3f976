"""Measure a trained arm on a study's fixed grid, with common random numbers.

Draw d of image i has one crop, one direction of γ and one field of white noise, the same for every arm, seed, noise
level and η; noise levels and η only scale them. Differences between arms, and between cells, are therefore paired.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from deepblur.operators import Blur, PoissonGaussian
from deepblur.platform.data.observations import Batch, mean_psf, observe
from deepblur.platform.data.store import ImageStore
from deepblur.platform.evaluation.metrics import psf_ncc, psf_snr_db, psnr_db, registered_psf_snr_db, ssim
from deepblur.platform.system.seeds import generator
from deepblur.platform.training.losses import twin_error
from deepblur.platform.training.specification import Degradation, Grid, NoiseLevel, RealImages


@dataclass(frozen=True)
class Cell:
    """One image at one noise level and η: `grid.draws` observations."""

    image: str
    noise: NoiseLevel
    eta_waves: float
    batch: Batch


def usable_images(grid: Grid | RealImages, operator: Blur, store: ImageStore) -> list[int]:
    """Which images of the store the grid takes: the first `grid.images` that are large enough for its crops.

    Raises:
        ValueError: none is.
    """
    real = isinstance(grid, RealImages)
    size = operator.psf_shape if real else operator.input_size((grid.crop_px, grid.crop_px))
    usable = [i for i in range(len(store)) if store.heights[i] >= size[0] and store.widths[i] >= size[1]]
    if not usable:
        raise ValueError(
            f"no test image has the {size[0]}x{size[1]} pixels that crops of {grid.crop_px} px and this blur need; "
            "lower the grid's crop_px or give larger images"
        )
    return usable[: grid.images]


def cells(grid: Grid, degradation: Degradation, store: ImageStore) -> Iterator[Cell]:
    """Every cell of the grid, image by image."""
    for position in range(len(usable_images(grid, degradation.operator, store))):
        yield from image_cells(grid, degradation, store, position)


def image_cells(grid: Grid, degradation: Degradation, store: ImageStore, position: int) -> Iterator[Cell]:
    """The cells of the image at one position among the usable ones."""
    operator = degradation.operator
    size = operator.input_size((grid.crop_px, grid.crop_px))
    index = usable_images(grid, operator, store)[position]
    sharp = _crops(store.image(index), grid.draws, size, generator(grid.seed, "test crops", position))
    unit = operator.held_out().draw(grid.draws, generator(grid.seed, "test gamma", position))
    for eta_waves in grid.eta_waves:
        for level in grid.noise:
            noise = PoissonGaussian(level.gain, level.read_std)
            rng = generator(grid.seed, "test noise", position)
            batch = observe(sharp, operator.at(unit, eta_waves), noise, operator, rng)
            yield Cell(str(store.names[index]), level, eta_waves, batch)


@torch.no_grad()
def measure(cell: Cell, identifier: nn.Module, deblurrer: nn.Module, degradation: Degradation) -> pd.DataFrame:
    """One row per draw: how well the PSF and the image are recovered, beside the trivial baselines and the oracle.

    The oracle is the same DN given the true γ. Borders of half a PSF are cut before PSNR and SSIM. The mean PSF is that
    of the η in training: what a user who knows nothing of this image would take.
    """
    operator, batch = degradation.operator, cell.batch
    gamma, restored = restore(batch, identifier, deblurrer, operator)
    oracle = deblurrer(batch.blurry, batch.gamma, operator).float()
    psf = operator.psf(gamma)
    baseline = mean_psf(operator, degradation.eta_waves).to(psf).expand_as(psf)
    border = operator.psf_shape[0] // 2
    columns = {
        "psf_snr_db": psf_snr_db(psf, batch.psf),
        "psf_snr_registered_db": registered_psf_snr_db(psf, batch.psf),
        "psf_ncc": psf_ncc(psf, batch.psf),
        "mean_psf_snr_db": psf_snr_db(baseline, batch.psf),
        "gamma_rmse_waves": twin_error(gamma, batch.gamma, operator, 1.0).sqrt().cpu(),
    }
    for name, image in (("", restored), ("blurry_", batch.blurry), ("oracle_", oracle)):
        columns[f"{name}psnr_db"] = psnr_db(image, batch.sharp, border)
        columns[f"{name}ssim"] = ssim(image, batch.sharp, border)
    table = pd.DataFrame({name: np.asarray(values, dtype=float) for name, values in columns.items()})
    table.insert(0, "draw", np.arange(len(batch)))
    table.insert(0, "image", cell.image)
    table.insert(0, "eta_waves", cell.eta_waves)
    table.insert(0, "noise", cell.noise.name)
    return table


@torch.no_grad()
def restore(batch: Batch, identifier: nn.Module, deblurrer: nn.Module, operator: Blur) -> tuple[Tensor, Tensor]:
    """(γ̂ (B, K), x̂ (B, 1, H, W)): blind restoration of the observations."""
    gamma = operator.settled(identifier(batch.blurry).float())
    return gamma, deblurrer(batch.blurry, gamma, operator).float()


def latency_ms(cell: Cell, identifier: nn.Module, deblurrer: nn.Module, operator: Blur) -> float:
    """Milliseconds to identify and restore one image of the cell: the median of five, after one to warm up."""
    one = cell.batch.split(1)[0]
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        restore(one, identifier, deblurrer, operator)[1].cpu()  # the copy waits for a GPU
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds[1:]))


def picture_arrays(cell: Cell, identifier: nn.Module, deblurrer: nn.Module, operator: Blur) -> dict[str, np.ndarray]:
    """The first draw of a cell as float32 arrays: blurry, sharp, restored, psf_true, psf_estimated."""
    first = cell.batch.split(1)[0]
    gamma, restored = restore(first, identifier, deblurrer, operator)
    images = {
        "blurry": first.blurry,
        "sharp": first.sharp,
        "restored": restored,
        "psf_true": first.psf,
        "psf_estimated": operator.psf(gamma),
    }
    return {name: image[0, 0].float().cpu().numpy() for name, image in images.items()}


def _crops(image: Tensor, n: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
    """n windows (n, 1, h, w) of one image (1, H, W), spread at random, as they are."""
    _, H, W = image.shape
    h, w = size
    rows = torch.randint(H - h + 1, (n,), generator=rng).tolist()
    columns = torch.randint(W - w + 1, (n,), generator=rng).tolist()
    return torch.stack([image[:, r : r + h, c : c + w] for r, c in zip(rows, columns, strict=True)])
