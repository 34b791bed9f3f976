"""Trained models in MLflow's registry, each with the code that runs it.

A version holds the model folder and a copy of the package, so that `mlflow.pyfunc.load_model` and `mlflow models serve`
work where deepblur is not installed; `load_registered` gives the model itself, without running any code of the version.
"""

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from deepblur.platform.models import model
from deepblur.platform.models.card import LONGEST_DESCRIPTION
from deepblur.platform.registry import packed_code, requests
from deepblur.platform.registry.choice import choose_model
from deepblur.platform.system.enclosed import files_of
from deepblur.platform.system.seal import sha256
from deepblur.platform.tracking.connection import pages
from deepblur.platform.tracking.no_tracker import NoTracker
from deepblur.platform.tracking.tracker import Tracker

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints when this part of it is imported
    import mlflow.pyfunc

NAME = "deepblur"
CONTENT_TAG, CODE_TAG = "deepblur.content", "deepblur.code"
REQUIREMENTS = ("mlflow", "numpy", "safetensors", "scipy", "torch", "torchvision")


def log_and_register(
    tracker: NoTracker,
    run_id: str,
    model_folder: Path,
    *,
    name: str = NAME,
    tags: Mapping[str, str] | None = None,
    example: np.ndarray,
    description: str = "",
    anew: bool = False,
) -> str:
    """Logs a saved model to the run and registers it as a new version, once for each content.

    The content is what the model does: operator, configurations, weights and calibration. The rest of the card is not
    part of it, so that a study that is repeated at another commit, with the networks that it has, registers nothing.

    Args:
        tracker: a NoTracker registers nothing.
        run_id: the run that made the model.
        model_folder: what `save_model` wrote.
        name: of the registered model, created where it is missing.
        tags: of the version.
        example: (B, 1, H, W) float32 in [0, 1], a small blurry image that shows how to call the model.
        description: of the version, Markdown.
        anew: register what an earlier deepblur registered again, for the code of a version never changes.
    Returns:
        The version, the earlier one if this name holds the same content already; "" if MLflow failed, as
        `tracker.problems` then says.
    """
    if not isinstance(tracker, Tracker):
        return ""

    def register() -> str:
        digest, code = _digest(model_folder), packed_code.code_hash()
        query = f"name = '{name}' and tags.`{CONTENT_TAG}` = '{digest}'"
        for known in pages(tracker.client.search_model_versions, query):
            if not anew or known.tags.get(CODE_TAG) == code:
                return str(known.version)
        _create_name(tracker.client, name)
        logged = tracker.client.create_logged_model(tracker.experiment_id, name, run_id, {CONTENT_TAG: digest})
        with tempfile.TemporaryDirectory(prefix="deepblur-") as scratch:
            made = Model(run_id=run_id, model_id=logged.model_id, artifact_path=logged.artifact_location)
            save_pyfunc(Path(scratch), model_folder, example, made)
            tracker.client.log_model_artifacts(logged.model_id, f"{scratch}/pyfunc")
        tracker.client.finalize_logged_model(logged.model_id, "READY")
        tracker.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        labels = {**(tags or {}), CONTENT_TAG: digest, CODE_TAG: code}
        location = logged.artifact_location
        created = tracker.client.create_model_version(
            name, location, run_id, labels, description=description[:LONGEST_DESCRIPTION], model_id=logged.model_id
        )
        return str(created.version)

    return tracker.attempt(f"registration as {name}", register, "", run=run_id)


def load_registered(uri: str, *, tracking_uri: str | None = None, device: str = "cpu") -> model.BlindModel:
    """A model of the registry, in evaluation mode.

    Args:
        uri: models:/NAME/VERSION, models:/NAME@ALIAS, or whatever else `deepblur.platform.registry.choice` finds.
        tracking_uri: of the registry; None: MLFLOW_TRACKING_URI, else the database in the runs folder.
        device: where the networks go.
    Raises:
        ModelError: there is no such model, or it cannot be had or loaded.
    """
    return choose_model(uri, tracking_uri=tracking_uri, device=device).model


def _digest(folder: Path) -> str:
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    description["card"] = description.get("card", {}).get("uncertainty")
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()


def _create_name(client: mlflow.MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def save_pyfunc(scratch: Path, model_folder: Path, example: np.ndarray, description: Model | None = None) -> None:
    """Writes the MLflow model to scratch/pyfunc, ready for `mlflow models serve`; see log_and_register."""
    trained = model.load_model(model_folder)
    h, w = trained.operator.psf_shape
    copies = {f"model/{name}": file for name, file in files_of(model_folder).items()}
    copies |= {name: file for name, file in packed_code.packed().items() if name != packed_code.MODEL_CODE}
    for name, file in copies.items():
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, scratch / name)
    mlflow.pyfunc.save_model(
        scratch / "pyfunc",
        mlflow_model=description,
        python_model=packed_code.packed()[packed_code.MODEL_CODE],
        artifacts={"model": str(scratch / "model")},
        code_paths=[str(scratch / "code" / "deepblur")],
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1, -1, -1))]),
            outputs=Schema(
                [
                    TensorSpec(np.dtype("float32"), (-1, 1, -1, -1), "image"),
                    TensorSpec(np.dtype("float32"), (-1, trained.operator.num_parameters), "gamma"),
                    TensorSpec(np.dtype("float32"), (-1, 1, h, w), "psf"),
                ]
            ),
            params=ParamSchema([ParamSpec("gamma", DataType.double, [], (-1,))]),  # the known blur; empty: found
        ),
        model_config={"max_pixels": requests.MAX_PIXELS, "threads": 0},  # threads: 0 leaves torch's own number
        input_example=example,
        # a "+cpu" build is the same release, and no index offers it under that name
        pip_requirements=[f"{package}=={installed_version(package).partition('+')[0]}" for package in REQUIREMENTS],
    )
