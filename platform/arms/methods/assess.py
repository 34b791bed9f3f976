"""Carry out an `Assess` stage: run one method on the draws of one image and score every draw on its own.

Whatever a method does, its rows say it: status is ok, diverged, failed or timeout, and only ok rows have scores.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from deepblur.baselines import DivergedError, Estimate, noise_level, reblur, whiteness
from deepblur.operators import ZernikeBlur
from deepblur.platform.arms.methods.method import Assess, Method, estimate
from deepblur.platform.data.observations import Batch
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.evaluation.grid import image_cells, middle, usable_images
from deepblur.platform.evaluation.levels import Grid, NoiseLevel, RealImages
from deepblur.platform.evaluation.measure import Score, name_of, scores_of
from deepblur.platform.evaluation.metrics import (
    otf_error,
    psf_ncc,
    psf_snr_db,
    psnr_db,
    registered_psf_snr_db,
    ssim,
    wavefront_error_waves,
)
from deepblur.platform.evaluation.texture import edge_density, local_std
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.memory import PeakMemory
from deepblur.platform.system.seeds import stream
from deepblur.platform.training.in_process import load_networks

PICTURES = 3
"""Images whose first draw is kept as arrays, at every noise level of the largest η that the method expects."""
PSF_SCORES = ("psf_snr_db", "psf_snr_registered_db", "psf_ncc", "otf_error", "wavefront_error_waves", "psf_error")
IMAGE_SCORES = ("psnr_db", "ssim")
SCORES = (*PSF_SCORES, *IMAGE_SCORES, "whiteness")


class Draw:
    """One observation, its truth if there is one, and where it lies in the grid."""

    def __init__(self, keys: dict[str, Any], image: Tensor, truth: Batch | None, level: NoiseLevel | None) -> None:
        self.keys, self.image, self.truth, self.level = keys, image, truth, level


def draws(stage: Assess, store: ImageStore) -> Iterator[Draw]:
    """All draws of the stage's image, the same for every method; on the CPU."""
    if isinstance(stage.grid, RealImages):
        yield _real(stage.grid, stage.method, store, stage.position)
        return
    for cell in image_cells(stage.grid, stage.method.degradation, store, stage.position):
        level = cell.noise
        for i, truth in enumerate(cell.batch.split(1)):
            keys = {"noise": level.name, "noise_std": level.std, "gain": level.gain, "eta_waves": cell.eta_waves}
            yield Draw({**keys, "image": cell.image, "draw": i}, truth.blurry[0, 0], truth, level)


def _real(grid: RealImages, method: Method, store: ImageStore, position: int) -> Draw:
    index = usable_images(grid, method.degradation.operator, store)[position]
    image = middle(store.image(index)[0], grid.crop_px).clone()
    keys = {"noise": "as recorded", "noise_std": noise_level(image), "gain": 0.0, "eta_waves": 0.0}
    return Draw({**keys, "image": str(store.names[index]), "draw": 0}, image, None, None)


def carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """Carry out an assessment in this process."""
    work.prepare()
    stage = work.stage
    assert isinstance(stage, Assess)
    meter = work.begin()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = load_networks(work, stage.method.networks, device)
    store = open_store(stage.test, work.cache, progress=False)
    rows: list[dict[str, Any]] = []
    pictures: dict[str, np.ndarray] = {}
    shown = _shown_eta(stage)
    for draw in draws(stage, store):
        row, found = measure(stage, networks, draw, device)
        rows.append(row)
        if stage.position < PICTURES and draw.keys["draw"] == 0 and draw.keys["eta_waves"] == shown:
            prefix = f"{draw.keys['image']}|{draw.keys['noise']}|{shown}"
            pictures |= {f"{prefix}|{name}": array for name, array in _arrays(stage.method, draw, found).items()}
    temporary = work.unfinished_folder()
    table = pd.DataFrame(rows)
    table.to_parquet(temporary / "items.parquet", index=False)
    np.savez(temporary / "pictures.npz", **pictures)  # type: ignore[arg-type]
    counts = {str(status): int(n) for status, n in table["status"].value_counts().items()}
    return work.settle(temporary, {"draws": len(table), **counts}, meter)


def _shown_eta(stage: Assess) -> float:
    if not isinstance(stage.grid, Grid):
        return 0.0
    expected = max(stage.method.degradation.eta_waves, min(stage.grid.eta_waves))
    return max(eta for eta in stage.grid.eta_waves if eta <= expected)


def measure(
    stage: Assess, networks: dict[str, nn.Module], draw: Draw, device: torch.device
) -> tuple[dict[str, Any], Estimate | None]:
    """(row, estimate) of one draw; the row has every column whatever happened."""
    image, truth = draw.image.to(device), None if draw.truth is None else draw.truth.to(device)
    seed = stream(stage.grid.seed, "method", stage.position, draw.keys["draw"])
    row = {
        **draw.keys,
        "status": "ok",
        "reason": "",
        **dict.fromkeys(columns_of(stage), np.nan),
        **_content(draw, stage.method),
    }
    found = None
    memory = PeakMemory(device)
    started = time.perf_counter()
    try:
        with time_limit(stage.grid.limit_s):
            found = estimate(stage.method, networks, image, truth, level=draw.level, seed=seed)
            if device.type == "cuda":
                torch.cuda.synchronize()
    except TimeoutError:
        row |= {"status": "timeout", "reason": f"took longer than {stage.grid.limit_s:g} s"}
    except DivergedError as error:
        row |= {"status": "diverged", "reason": str(error)}
    except Exception as error:  # whatever a method raises is its own row's result, with the reason beside it
        row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    row |= {"seconds": time.perf_counter() - started, "peak_mb": memory.used_mb()}
    if found is not None:
        row |= score(stage.method, found, image, truth, stage.scores)
    return row, found


def columns_of(stage: Assess) -> tuple[str, ...]:
    """Columns that hold a score."""
    return (*SCORES, *map(name_of, stage.scores))


def score(
    method: Method, found: Estimate, image: Tensor, truth: Batch | None, own: Sequence[Score] = ()
) -> dict[str, float]:
    """The scores that the method and the data allow; borders of half a PSF are cut before those of images."""
    scores: dict[str, Any] = {}
    operator = method.degradation.operator
    if truth is not None and found.psf is not None:
        psf = found.psf[None, None]
        scores["psf_snr_db"] = psf_snr_db(psf, truth.psf)
        scores["psf_snr_registered_db"] = registered_psf_snr_db(psf, truth.psf)
        scores["psf_ncc"] = psf_ncc(psf, truth.psf)
        if isinstance(operator, ZernikeBlur):
            scores["otf_error"] = otf_error(psf, truth.psf, operator.cutoff)
            if found.gamma is not None and found.gamma.shape == truth.gamma.shape[1:]:
                twin = operator.twin(truth.gamma) if operator.z_px == 0 else truth.gamma
                scores["wavefront_error_waves"] = wavefront_error_waves(found.gamma[None], truth.gamma, twin)
        scores["psf_error"] = 10 ** (-scores["psf_snr_db"] / 10)
    restores = method.image != "none"
    if truth is not None and restores:
        border = operator.psf_shape[0] // 2
        scores["psnr_db"] = psnr_db(found.image[None, None], truth.sharp, border)
        scores["ssim"] = ssim(found.image[None, None], truth.sharp, border)
        scores |= {name: one for name, (one,) in scores_of(own, found.image[None, None], truth.sharp, border).items()}
    if restores and found.psf is not None and found.psf.shape == operator.psf_shape:  # one PSF for all the image
        residual = image - reblur(found.image, found.psf)
        scores["whiteness"] = whiteness(_inside(residual, operator.psf_shape[0] // 2)[None])
    return {name: float(value) for name, value in scores.items()}


def _content(draw: Draw, method: Method) -> dict[str, float]:
    """What the image itself is like: the blurry input's scores and the sharp image's texture."""
    truth = draw.truth
    if truth is None:
        return dict.fromkeys(("blurry_psnr_db", "blurry_ssim", "local_std", "edge_density"), np.nan)
    border = method.degradation.operator.psf_shape[0] // 2
    return {
        "blurry_psnr_db": float(psnr_db(truth.blurry, truth.sharp, border)),
        "blurry_ssim": float(ssim(truth.blurry, truth.sharp, border)),
        "local_std": float(local_std(truth.sharp)),
        "edge_density": float(edge_density(truth.sharp)),
    }


def _inside(image: Tensor, border: int) -> Tensor:
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def _arrays(method: Method, draw: Draw, found: Estimate | None) -> dict[str, np.ndarray]:
    """What the report shows of one draw; a method that failed leaves no restored image."""
    arrays = {"blurry": draw.image}
    if draw.truth is not None:
        arrays |= {"sharp": draw.truth.sharp[0, 0], "psf_true": draw.truth.psf[0, 0]}
    if found is not None:
        if found.psf is not None:
            arrays["psf"] = found.psf
        if method.image != "none":
            arrays["restored"] = found.image
            if found.psf is not None and found.psf.shape == method.degradation.operator.psf_shape:
                arrays["residual"] = draw.image.to(found.image) - reblur(found.image, found.psf)
    return {name: array.float().cpu().numpy() for name, array in arrays.items()}


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after `seconds`; without effect outside of a process's main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
