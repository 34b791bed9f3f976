"""How far to trust γ̂: the spread of IN's readings against its error, on draws of the validation images."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from deepblur.operators import ZernikeBlur
from deepblur.platform.data.observations import BLOCK, Degradation, draw_batch
from deepblur.platform.data.store import ImageStore
from deepblur.platform.models.model import BlindModel
from deepblur.platform.models.readings import Readings, read, window_px
from deepblur.platform.models.uncertainty import fit_level

DRAWS = 40
"""Of four windows each: enough to know a standard deviation to a tenth, in seconds on two cores."""


def calibrate(
    identifier: nn.Module, degradation: Degradation, store: ImageStore, *, draws: int = DRAWS
) -> dict[str, Any]:
    """The card's entry "uncertainty": JSON numbers, a pure function of the arguments.

    Args:
        identifier: a trained IN; degradation: what it was trained on.
        store: validation images, never those that the study tests on.
        draws: rounded up to a multiple of 8.
    """
    card = {"trained": {"crop_px": degradation.crop_px}}
    model = BlindModel(degradation.zernike, identifier, nn.Identity(), card)
    crop = window_px(model)
    several = replace(degradation, crop_px=crop + crop // 2)  # four half-overlapping windows
    if not _holds(store, several):
        several = replace(degradation, crop_px=crop)
    blocks = range(math.ceil(draws / BLOCK))
    batch = draw_batch(store, several, 0, "calibration", 0, blocks, torch.device("cpu"))
    found = [read(model, y[None]) for y in batch.blurry]
    alone = [(part, truth) for whole, truth in zip(found, batch.gamma, strict=True) for part in whole.windows()]
    levels = [_level(model.operator, alone)]
    if len(alone) > len(found):
        levels.append(_level(model.operator, list(zip(found, batch.gamma, strict=True))))
    return {"method": "spread of windows, turns and flips", "levels": levels}


def signed_error(operator: ZernikeBlur, estimate: Tensor, gamma: Tensor) -> Tensor:
    """estimate − γ, (N, K), towards the nearer of the two γ that give the true PSF."""
    straight = estimate - gamma
    if operator.z_px:
        return straight
    other = estimate - operator.twin(gamma)
    nearer = straight.square().sum(1, keepdim=True) <= other.square().sum(1, keepdim=True)
    return torch.where(nearer, straight, other)


def _level(operator: ZernikeBlur, pairs: list[tuple[Readings, Tensor]]) -> dict[str, Any]:
    estimate = torch.stack([found.mean for found, _ in pairs])
    error = signed_error(operator, estimate, torch.stack([truth for _, truth in pairs]))
    spread = torch.stack([found.spread for found, _ in pairs])
    return fit_level(spread.double().numpy(), error.double().numpy(), len(pairs[0][0].corners))


def _holds(store: ImageStore, degradation: Degradation) -> bool:
    h, w = degradation.operator.input_size((degradation.crop_px, degradation.crop_px))
    return bool(((store.heights >= h) & (store.widths >= w)).any())
