"""A registered model is found again, loads without deepblur and without pickle, and is registered once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from places import ROOT
from torch.testing import assert_close

from deepblur.nets import Deblurrer, Identifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.model import load_model, save_model
from deepblur.platform.registry.clean_process import works_in_a_clean_process
from deepblur.platform.registry.packed_code import copy_of
from deepblur.platform.registry.publish import load_registered, log_and_register
from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking.no_tracker import NoTracker
from deepblur.platform.tracking.tracker import Tracker

EXAMPLE = np.linspace(0, 1, 24 * 31, dtype=np.float32).reshape(1, 1, 24, 31)


def tiny_model(folder: Path, lam: float = 0.1) -> Path:
    identifier = {"num_parameters": 3, "arch": "compact", "widths": (4, 6)}
    deblurrer = {"unroll": 2, "widths": (4, 6), "blocks": 1, "lam": lam}
    save_model(
        folder,
        operator=ZernikeBlur(noll=(4, 5, 6), psf_size=9),
        identifier_config=identifier,
        identifier=Identifier(**identifier),
        deblurrer_config=deblurrer,
        deblurrer=Deblurrer(**deblurrer),
        card={"data": "none"},
    )
    return folder


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return Tracker.open(f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db", "study")


@pytest.fixture(scope="module")
def run_id(tracker):
    return tracker.child_run(parent="0", key="k", name="arm", params={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("trained") / "arm")


@pytest.fixture(scope="module")
def version(tracker, run_id, folder):
    return log_and_register(tracker, run_id, folder, tags={"arm": "true"}, example=EXAMPLE, description="# A model")


def test_the_registered_model_restores_as_the_saved_one(tracker, run_id, folder, version, monkeypatch):
    assert (version, tracker.problems) == ("1", [])
    found = tracker.client.get_model_version("deepblur", version)
    assert found.tags["arm"] == "true"
    assert found.run_id == run_id
    assert found.description == "# A model"
    tracker.client.set_registered_model_alias("deepblur", "champion", version)
    expected = load_model(folder).restore(torch.from_numpy(EXAMPLE))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    for uri in ("models:/deepblur/1", "models:/deepblur@champion"):
        restored = load_registered(uri).restore(torch.from_numpy(EXAMPLE))
        assert_close(restored.image, expected.image, rtol=0, atol=0)


def test_the_same_content_is_registered_once_and_other_content_anew(tracker, run_id, folder, version, tmp_path):
    assert log_and_register(tracker, run_id, folder, example=EXAMPLE) == version
    told_more = shutil.copytree(folder, tmp_path / "told more")
    description = json.loads((folder / "model.json").read_text())
    (told_more / "model.json").write_text(json.dumps(description | {"card": {"commit": "another"}}))
    (told_more / "README.md").write_text("# The same networks")
    assert log_and_register(tracker, run_id, told_more, example=EXAMPLE) == version
    other = tiny_model(tmp_path / "other", lam=0.2)
    assert log_and_register(tracker, run_id, other, example=EXAMPLE) == str(int(version) + 1)


def test_it_runs_in_a_clean_process_without_deepblur_and_without_pickle(tracker, folder, version, tmp_path):
    code = f"""
import sys
sys.path = [p for p in sys.path if p != {str(ROOT)!r}]
import json, mlflow, numpy as np
model = mlflow.pyfunc.load_model("models:/deepblur/{version}")
import deepblur.platform.models.model as loaded
y = np.linspace(0, 1, 24 * 31, dtype=np.float32).reshape(1, 1, 24, 31)
out = model.predict(y)
taller = model.predict(np.concatenate([y, y], axis=2).repeat(2, axis=0))
try:
    model.predict(y.astype(np.float64))
    refused = ""
except mlflow.exceptions.MlflowException as error:
    refused = str(error)
print(json.dumps(dict(file=loaded.__file__, gamma=out["gamma"].tolist(), psf=out["psf"].shape,
                      image=taller["image"].shape, example=model.input_example.shape, refused=refused)))
"""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "MLFLOW_TRACKING_URI": tracker.uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert not said["file"].startswith(str(ROOT))
    assert_close(torch.tensor(said["gamma"]), load_model(folder).restore(torch.from_numpy(EXAMPLE)).gamma)
    assert said["psf"] == [1, 1, 9, 9]
    assert said["image"] == [2, 1, 48, 31]
    assert said["example"] == list(EXAMPLE.shape)
    assert "float32" in said["refused"]


def test_what_is_registered_is_known_for_ours_and_passes_the_clean_process(tracker, folder, version, tmp_path):
    location = tracker.client.get_model_version_download_uri("deepblur", version)
    assert copy_of(Path(location.removeprefix("file://")), tmp_path / "copy", trust=False) == []
    assert works_in_a_clean_process(tmp_path / "copy", load_model(folder)) == ""


def test_what_is_not_registered_is_named(tracker, version):
    with pytest.raises(ModelError, match="models:/deepblur/99 is not registered at sqlite"):
        load_registered("models:/deepblur/99", tracking_uri=tracker.uri)


def test_a_registry_that_fails_does_not_stop_a_study(tracker, run_id, tmp_path, folder):
    assert log_and_register(NoTracker(), "", folder, example=EXAMPLE) == ""
    failing = Tracker(tracker.client, tracker.uri, tracker.experiment_id)
    assert log_and_register(failing, run_id, tmp_path / "absent", example=EXAMPLE) == ""
    assert failing.problems[0].startswith(f"registration as deepblur of {run_id}: FileNotFoundError")
