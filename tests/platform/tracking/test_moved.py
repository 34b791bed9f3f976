"""A runs folder that was moved or copied takes its record along, and nothing comes to life where it was."""

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from deepblur.platform.registry.lookup import registry
from deepblur.platform.reproduce.recorded_run import read_run
from deepblur.platform.tracking.connection import connect
from deepblur.platform.tracking.moved import bring_along, local
from deepblur.platform.tracking.tracker import KEY_TAG, Tracker


@pytest.fixture
def runs(tmp_path, mlflow_template):
    """A runs folder with a finished run, a file of it and a version of a model, none of which was opened since."""
    folder = tmp_path / "a runs folder"
    folder.mkdir()
    shutil.copy(mlflow_template, folder / "mlflow.db")
    tracker = opened(folder)
    run = tracker.client.create_run(tracker.experiment_id, tags={KEY_TAG: "k"}).info.run_id
    tracker.log_text(run, "first", "first.txt")
    tracker.client.set_terminated(run)
    tracker.client.create_registered_model("deepblur")
    place = (folder / "mlartifacts" / "models" / "m-1" / "artifacts").as_uri()
    tracker.client.create_model_version("deepblur", place, run)
    assert tracker.problems == []
    return folder, run


def opened(folder):
    return Tracker.open(f"sqlite:///{folder}/mlflow.db", "study", folder / "mlartifacts")


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_the_record_follows_its_files(runs, tmp_path, how, capsys):
    old, run = runs
    new = tmp_path / "new"
    (old.rename if how == "moved" else lambda to: shutil.copytree(old, to))(new)
    before = sorted(old.rglob("*"))
    tracker = opened(new)
    told = f"the record {new}/mlflow.db was moved or copied from {old}/mlartifacts; it now names the files beside it\n"
    assert capsys.readouterr().err == told
    assert local(tracker.client.get_run(run).info.artifact_uri) == new / "mlartifacts" / run / "artifacts"
    second = tracker.client.create_run(tracker.experiment_id).info.run_id
    tracker.log_text(second, "second", "second.txt")
    assert tracker.problems == []
    assert (new / "mlartifacts" / second / "artifacts" / "second.txt").read_text() == "second"
    assert sorted(old.rglob("*")) == before
    with registry(f"sqlite:///{new}/mlflow.db") as known:
        place = local(known.version("deepblur", "1").location)
    assert place == new / "mlartifacts" / "models" / "m-1" / "artifacts"
    with sqlite3.connect(new / "mlflow.db") as record:
        assert not [line for line in record.iterdump() if "mlartifacts" in line and old.as_uri() in line]
    opened(new)
    assert capsys.readouterr().err == ""


def test_whoever_reads_first_brings_the_record_along(runs, tmp_path, capsys):
    old, _ = runs
    new = old.rename(tmp_path / "new")
    with registry(f"sqlite:///{new}/mlflow.db") as known:
        assert local(known.version("deepblur", "1").location).is_relative_to(new)
    assert "it now names the files beside it" in capsys.readouterr().err


def test_a_record_without_its_files_is_told_where_they_belong(runs, tmp_path):
    old, run = runs
    new = tmp_path / "new"
    new.mkdir()
    (old / "mlflow.db").rename(new / "mlflow.db")
    old.rename(tmp_path / "away")
    belongs = f"belongs to a runs folder that was at {old} and is gone; move it back, or bring its mlartifacts along"
    with pytest.raises(ConnectionError, match=re.escape(belongs)):
        opened(new)
    with pytest.raises(FileNotFoundError, match=r"the files of run .* are not at .*, where the record says"):
        read_run(run, f"sqlite:///{new}/mlflow.db")
    assert not old.exists()


def test_a_record_for_several_folders_stays_as_it_is(runs, tmp_path):
    old, _ = runs
    with_records = tmp_path / "another"
    shutil.copytree(old, with_records)
    shared = with_records / "mlflow.db"  # records what lies in the first folder, on purpose
    with sqlite3.connect(shared) as record:
        record.execute("UPDATE runs SET run_uuid = 'other', artifact_uri = replace(artifact_uri, run_uuid, 'other')")
    content = shared.read_bytes()
    assert bring_along(shared) == ""
    shutil.rmtree(with_records / "mlartifacts")
    assert bring_along(shared) == ""
    assert shared.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_what_is_no_record_of_mlflow_is_left_to_those_who_open_it(tmp_path, content):
    (tmp_path / "mlartifacts").mkdir()
    (tmp_path / "mlflow.db").write_bytes(content)
    assert bring_along(tmp_path / "mlflow.db") == ""
    assert bring_along(Path("/nowhere/mlflow.db")) == ""
    assert (tmp_path / "mlflow.db").read_bytes() == content


def test_a_record_that_may_not_be_changed_says_so(runs, tmp_path, monkeypatch):
    old, _ = runs
    new = old.rename(tmp_path / "new")
    really = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda database, **more: really(f"{Path(new, 'mlflow.db').as_uri()}?mode=ro", uri=True)
    )
    with pytest.raises(ConnectionError, match=r"was moved here from .* and cannot be told so \(.*readonly.*\)"):
        connect(f"sqlite:///{new}/mlflow.db")
