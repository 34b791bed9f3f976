"""From a folder to a version of the registry: the model that ships, or one that somebody sent, may be champion too."""

from pathlib import Path

import numpy as np
import torch

from deepblur.platform import shipped
from deepblur.platform.inference.failures import ModelError
from deepblur.platform.registry import NAME, log_and_register
from deepblur.platform.release.card import render
from deepblur.platform.release.choice import choose_model
from deepblur.platform.release.grid import GRID
from deepblur.platform.tracking import Tracker

EXPERIMENT = "models"
"""Whose runs hold what no study of this registry has made."""


def register_folder(model: str | Path, uri: str, name: str = NAME) -> str:
    """Registers a saved model, once for each content, and creates the registry where it is missing.

    Args:
        model: a folder that `save_model` or `studies/compact.py` wrote, or the name of a shipped model.
        uri: of MLflow.
        name: of the registered model.
    Returns:
        The version.
    Raises:
        ModelError: no such model, one that cannot be loaded, or a registry that fails.
    """
    folder = Path(model)
    if str(model) in shipped.names() and not folder.exists():
        folder = shipped.folder() / str(model)
        shipped.check(folder)
    card = choose_model(folder).model.card
    tags = {key: str(card[key]) for key in ("study", "preset", "arm", "seed") if key in card}
    try:
        tracker = Tracker.open(uri, EXPERIMENT)
    except ConnectionError as error:
        raise ModelError(str(error)) from None
    label = folder.resolve().name
    run = tracker.study_run(key=f"{name} {label} {card.get('commit', '')}", name=label, params={}, tags=tags)
    version = log_and_register(
        tracker, run, folder, name=name, tags=tags, example=_example(), description=render(card, f"{name} {label}")
    )
    tracker.finish(run, ok=bool(version))
    if not version:
        raise ModelError(f"{label} could not be registered: {'; '.join(tracker.problems)}")
    return version


def _example() -> np.ndarray:
    """(1, 1, H, W), a blurry photograph of the gate's grid."""
    _, batch = next(GRID.observations())
    return torch.as_tensor(batch.blurry[:1]).numpy()
