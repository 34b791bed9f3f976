"""From a folder to a version of the registry: the model that ships, or one that somebody sent, may be champion too."""

from pathlib import Path

import numpy as np
import torch

from deepblur.platform.models import shipped
from deepblur.platform.models.card import render
from deepblur.platform.registry.choice import choose_model, registered
from deepblur.platform.registry.gate_grid import GRID
from deepblur.platform.registry.publish import NAME, log_and_register
from deepblur.platform.system.enclosed import files_of
from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking.tracker import Tracker

EXPERIMENT = "models"
"""Whose runs hold what no study of this registry has made."""


def register_folder(model: str | Path, uri: str, name: str = NAME) -> str:
    """Registers a saved model, once for each content and code, and creates the registry where it is missing.

    Args:
        model: a folder that `save_model` or `studies/compact.py` wrote, the name of a shipped model, or models:/NAME/3,
            whose code another deepblur wrote.
        uri: of MLflow.
        name: of the registered model.
    Returns:
        The version.
    Raises:
        ModelError: no such model, one that cannot be loaded, or a registry that fails.
    """
    text = str(model)
    if text.startswith(("models:", "runs:")):
        with registered(text, uri) as (fetched, found):
            return _register(fetched, f"{found.name} {found.version}", uri, name)
    folder = Path(model)
    if text in shipped.names() and not folder.exists():
        folder = shipped.folder() / text
        shipped.check(folder)
    return _register(folder, folder.resolve().name, uri, name)


def _register(folder: Path, label: str, uri: str, name: str) -> str:
    card = choose_model(folder).model.card
    try:
        files_of(folder)
    except ValueError as error:
        raise ModelError(f"nothing was registered: {error}") from None
    tags: dict[str, str] = {key: str(card[key]) for key in ("study", "preset", "arm", "seed") if key in card}
    try:
        tracker = Tracker.open(uri, EXPERIMENT)
    except ConnectionError as error:
        raise ModelError(str(error)) from None
    run = tracker.study_run(key=f"{name} {label} {card.get('commit', '')}", name=label, params={}, tags=tags)
    version = log_and_register(
        tracker,
        run,
        folder,
        name=name,
        tags=tags,
        example=_example(),
        description=render(card, f"{name} {label}"),
        anew=True,
    )
    tracker.finish(run, ok=bool(version))
    if not version:
        raise ModelError(f"{label} could not be registered: {'; '.join(tracker.problems)}")
    return version


def _example() -> np.ndarray:
    """(1, 1, H, W), a blurry photograph of the gate's grid."""
    _, batch = next(GRID.observations())
    return torch.as_tensor(batch.blurry[:1]).numpy()
