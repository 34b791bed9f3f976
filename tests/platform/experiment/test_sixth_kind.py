"""A kind of study that the package does not know: one file states it, and all else works as for the five it has."""

import re
from dataclasses import replace

import mlflow
from micro_study import STUDY as TRAINED
from micro_timing import STUDY

from deepblur.platform.experiment.main import main


def test_a_sixth_kind_runs_is_recorded_reported_and_reused(tmp_path, capsys):
    database = f"sqlite:///{tmp_path}/mlflow.db"
    command = ["--local", "--data", "dead-leaves", "--runs", str(tmp_path), "--tracking-uri", database]
    assert main(STUDY, command) == 0
    log = capsys.readouterr().out
    assert re.search(r"\[2/2\] timing large, seed 0: .* ms a transform", log)
    assert re.search(r"large +[\d.]+ ms", log)
    (report,) = tmp_path.glob("studies/micro_timing-*/report.html")
    page = report.read_text()
    assert all(text in page for text in (STUDY.title, "A kind of study that the package does not know", "What it cost"))

    client = mlflow.MlflowClient(database)
    (experiment,) = [e for e in client.search_experiments() if e.name == "micro_timing"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    whole, small = runs["micro_timing quick"], runs["small, seed 0 (quick)"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert whole.data.metrics["arm/large/transform_ms"] > 0
    assert STUDY.title in whole.data.tags["mlflow.note.content"]
    assert small.data.tags["method"] == "FFT of 32 px"
    assert small.data.metrics["test/transform_ms"] == whole.data.metrics["arm/small/transform_ms"]
    assert "report.html" in {file.path for file in client.list_artifacts(whole.info.run_id)}

    assert main(STUDY, command) == 0
    assert "2 stages, 2 done before" in capsys.readouterr().out


def test_arms_of_two_kinds_are_refused_before_anything_is_computed(tmp_path, capsys):
    def arm(*, kind, data, seed, side_px=8):
        return (
            STUDY.arm(side_px=8, data=data, seed=seed) if kind else TRAINED.arm(operator="true", data=data, seed=seed)
        )

    mixed = replace(STUDY, arm=arm, arms={"one": {"kind": 0}, "other": {"kind": 1}}, contrast=("one", "other"))
    assert main(mixed, ["--local", "--data", "dead-leaves", "--runs", str(tmp_path), "--tracking-uri", "none"]) == 1
    assert "all arms of a study are of one kind; the arm function returned Arm, Timing" in capsys.readouterr().err
    assert not any((tmp_path / "stages").iterdir())
