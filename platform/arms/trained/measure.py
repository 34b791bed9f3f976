"""Measure a trained arm on a study's fixed grid: how well it finds the PSF, and how well it restores."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from deepblur.operators import Blur
from deepblur.platform.data.observations import Batch, Degradation, mean_psf
from deepblur.platform.evaluation.grid import Cell
from deepblur.platform.evaluation.measure import Score, scores_of
from deepblur.platform.evaluation.metrics import psf_ncc, psf_snr_db, psnr_db, registered_psf_snr_db, ssim
from deepblur.platform.training.losses import twin_error


@torch.no_grad()
def measure(
    cell: Cell, identifier: nn.Module, deblurrer: nn.Module, degradation: Degradation, scores: Sequence[Score] = ()
) -> pd.DataFrame:
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
    columns: dict[str, Any] = {
        "psf_snr_db": psf_snr_db(psf, batch.psf),
        "psf_snr_registered_db": registered_psf_snr_db(psf, batch.psf),
        "psf_ncc": psf_ncc(psf, batch.psf),
        "mean_psf_snr_db": psf_snr_db(baseline, batch.psf),
        "gamma_rmse_waves": twin_error(gamma, batch.gamma, operator, 1.0).sqrt().cpu(),
    }
    for name, image in (("", restored), ("blurry_", batch.blurry), ("oracle_", oracle)):
        columns[f"{name}psnr_db"] = psnr_db(image, batch.sharp, border)
        columns[f"{name}ssim"] = ssim(image, batch.sharp, border)
    columns |= scores_of(scores, restored, batch.sharp, border)
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
