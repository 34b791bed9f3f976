"""A registry of tiny models whose quality is known without training: DN is its Tikhonov start, IN says a constant."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from deepblur.nets import Deblurrer, Identifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.model import save_model
from deepblur.platform.registry.gate import LatencyBound
from deepblur.platform.registry.gate_grid import GRID
from deepblur.platform.tracking.connection import database_file
from deepblur.platform.tracking.tracker import Tracker

NAME = "deepblur"
MICRO = replace(GRID, name="micro", families=((4, 5, 6),), eta_waves=(0.05,), noise=GRID.noise[:1], crop_px=48)
FAST = LatencyBound(side_px=48, rounds=1)
LAMS = {"bad": 3.0, "fair": 0.01, "good": 0.002}
IDENTIFIER = {"num_parameters": 3, "arch": "compact", "widths": (4, 6)}


def tikhonov_model(folder: Path, lam: float, card: dict | None = None) -> Path:
    """A model folder: the PSF without aberrations, inverted with the weight λ; a large λ leaves a dark image."""
    config = {"unroll": 1, "widths": (4, 6), "blocks": 1, "residual": True, "lam": lam}
    identifier, deblurrer = Identifier(**IDENTIFIER), Deblurrer(**config)
    with torch.no_grad():
        for network in (identifier, deblurrer.proxes):
            for value in network.parameters():
                nn.init.zeros_(value)
    save_model(
        folder,
        operator=ZernikeBlur(noll=(4, 5, 6), psf_size=31),
        identifier_config=IDENTIFIER,
        identifier=identifier,
        deblurrer_config=config,
        deblurrer=deblurrer,
        card=card or {},
    )
    return folder


def empty_registry(folder: Path, template: Path) -> Tracker:
    """A registry in folder/mlflow.db; making its tables takes longer than copying them."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(template, folder / "mlflow.db")
    return Tracker.open(f"sqlite:///{folder}/mlflow.db", "study")


def home_of(tracker: Tracker, model_folder: Path) -> Path:
    """The MLflow model folder of a version that `add_version` made."""
    database = database_file(tracker.uri)
    assert database is not None
    return database.parent / f"{model_folder.name}-mlflow"


def add_version(tracker: Tracker, model_folder: Path, arm: str = "arm", name: str = NAME) -> str:
    """Registers a model as `log_and_register` does, but without MLflow's own files, which take seconds to make."""
    run = tracker.child_run(parent="0", key=str(model_folder), name=arm, params={})
    if not tracker.client.search_registered_models(f"name = '{name}'"):
        tracker.client.create_registered_model(name)
    home = home_of(tracker, model_folder)
    shutil.copytree(model_folder, home / "artifacts" / "model")
    tags = {"study": "micro", "preset": "quick", "arm": arm, "seed": "0"}
    version = tracker.client.create_model_version(name, home.as_uri(), run, tags)
    return str(version.version)


def copy_of(registry: Tracker, folder: Path) -> str:
    """URI of a registry with the same versions."""
    database = database_file(registry.uri)
    assert database is not None
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"
