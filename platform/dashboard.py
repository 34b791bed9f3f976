"""What MLflow's UI needs beyond names: addresses of its pages, and pictures for its image grid."""

import hashlib
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PICTURES_TAG = "deepblur.pictures"
"""Hash of the pictures that a run has in its image grid."""


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Address of a run, or of a file in its artifact viewer, relative to the server that shows it."""
    page = f"#/experiments/{experiment_id}/runs/{run_id}"
    return f"{page}/artifacts/{urllib.parse.quote(artifact)}" if artifact else page


def comparison_page(experiment_id: str, run_ids: Sequence[str]) -> str:
    """Address of the page that shows runs side by side; "" without a run."""
    query = {"runs": _dense(list(run_ids)), "experiments": _dense([experiment_id])}
    return f"#/compare-runs?{urllib.parse.urlencode(query)}" if run_ids else ""


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
