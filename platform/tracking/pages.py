"""What MLflow's UI needs beyond names: addresses of its pages, saved views of the runs, pictures for its image grid."""

import hashlib
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PICTURES_TAG = "deepblur.pictures"
"""Hash of the pictures that a run has in its image grid."""


KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment that holds trained models, not conversations with one."""
VIEW_TAG = "mlflow.sharedViewState."
TRAINING = "workflowType=machine_learning"
"""The half of the UI that shows runs; without it MLflow 3.17 opens with the one for language models."""


@dataclass(frozen=True)
class View:
    """A list of runs that people open by its name, in the menu "Views", or by its address."""

    name: str
    stage: str
    """Tag `stage` of the runs that it lists."""
    best: str
    """Metric that they are sorted by, the largest first."""
    tags: tuple[str, ...]
    metrics: tuple[str, ...]

    def state(self) -> str:
        """As MLflow keeps it in a tag of the experiment: the view itself, and around it the one older versions read."""
        columns = [*(f"metrics.`{name}`" for name in self.metrics), *(f"tags.`{tag}`" for tag in self.tags)]
        view = {
            "searchFilter": f"tags.stage = '{self.stage}'",
            "orderByKey": f"metrics.`{self.best}`",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "selectedColumns": columns,
            "columnOrder": columns,
        }
        return json.dumps({**view, "name": self.name, "createdAt": 0, "updatedAt": 0, "state": json.dumps(view)})


VIEWS = {
    "arms": View(
        name="Arms, best first",
        stage="arm",
        best="test/psnr_gain_db",
        tags=("arm", "seed", "preset", "method"),
        metrics=("test/psnr_gain_db", "test/ssim_gain", "test/psf_snr_db", "cost/latency_ms"),
    ),
    "trials": View(
        name="Trials of a search, best first",
        stage="trial",
        best="grid/psnr_gain_db",
        tags=("arm", "trial", "state", "preset"),
        metrics=("grid/psnr_gain_db", "grid/psf_snr_db", "cost/latency_ms", "cost/gmacs"),
    ),
}
"""Key → view."""


def view_tags() -> dict[str, str]:
    """Tags of an experiment that put the views into its menu."""
    return {VIEW_TAG + key: view.state() for key, view in VIEWS.items()}


def view_page(experiment_id: str, key: str) -> str:
    """Address of the list of runs in this view."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={key}&{TRAINING}"


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Address of a run, or of a file in its artifact viewer, relative to the server that shows it."""
    page = f"#/experiments/{experiment_id}/runs/{run_id}"
    return f"{page}/artifacts/{urllib.parse.quote(artifact)}?{TRAINING}" if artifact else f"{page}?{TRAINING}"


def comparison_page(experiment_id: str, run_ids: Sequence[str]) -> str:
    """Address of the page that shows runs side by side; "" without a run."""
    query = {"runs": _dense(list(run_ids)), "experiments": _dense([experiment_id])}
    return f"#/compare-runs?{urllib.parse.urlencode(query)}&{TRAINING}" if run_ids else ""


def log_pictures(client: Any, run_id: str, pictures: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Put grey pictures in [0, 1] into a run's image grid, once: MLflow would show the same ones again beside them.

    Args:
        client: an MlflowClient.
        pictures: key → pictures (H, W), of which the first is at step 0. Runs that have a key are shown side by side.
    """
    shown = {key: [np.uint8(255 * image.clip(0, 1)) for image in images] for key, images in pictures.items()}
    digest = hashlib.sha256()
    for key, images in shown.items():
        digest.update(key.encode() + b"".join(image.tobytes() for image in images))
    if client.get_run(run_id).data.tags.get(PICTURES_TAG) == digest.hexdigest():
        return
    for key, images in shown.items():
        for step, image in enumerate(images):
            client.log_image(run_id, image, key=key, step=step, synchronous=True)
    client.set_tag(run_id, PICTURES_TAG, digest.hexdigest())


def _dense(value: list[str]) -> str:
    return json.dumps(value, separators=(",", ":"))
