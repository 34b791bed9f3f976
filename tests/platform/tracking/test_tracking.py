"""The record continues where it stopped, and its failure never stops a study."""

import logging
import shutil
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from deepblur.platform.tracking import orphaned_runs
from deepblur.platform.tracking.connection import database_file, default_uri
from deepblur.platform.tracking.no_tracker import NoTracker
from deepblur.platform.tracking.tracker import DRIVER, DRIVER_TAG, Tracker


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/runs/mlflow.db"


@pytest.fixture(scope="module")
def open_tracker(uri):
    """Opens a tracker on one shared database: creating its tables takes seconds."""
    return lambda: Tracker.open(uri, "study")


def curve(first: int, last: int) -> list[dict[str, float]]:
    return [{"step": step, "loss": 1 / step, "psf/snr (dB)": float(step)} for step in range(first, last + 1)]


def test_a_second_tracker_continues_the_same_records(open_tracker):
    ids = set()
    for last, ok in ((700, False), (900, True), (900, True)):
        tracker = open_tracker()
        study = tracker.study_run(key="a1", name="ablation", params={"eta": "0.1"}, tags={"preset": "quick"})
        child = tracker.child_run(parent=study, key="b2", name="IN", params={"lr": "1e-3"}, tags={"arm": "true"})
        tracker.log_rows(child, curve(1, last))
        tracker.log_metrics(child, {"psnr_db": 20.0, "never/NaN": float("inf")})
        tracker.finish(child, ok)
        tracker.finish(study, ok)
        assert tracker.problems == []
        ids.add((study, child))
    assert len(ids) == 1
    run = tracker.client.get_run(child)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "1e-3"}
    assert {"arm": "true", "mlflow.parentRunId": study}.items() <= run.data.tags.items()
    assert run.data.metrics["psnr_db"] == 20.0
    for key in ("loss", "psf/snr _dB_"):
        assert [point.step for point in tracker.client.get_metric_history(child, key)] == list(range(1, 901))
    assert len(tracker.client.get_metric_history(child, "psnr_db")) == 1


def test_the_load_of_the_machine_is_recorded_until_the_study_ends(open_tracker, monkeypatch):
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monkeypatch.setattr(f"{Tracker.__module__}.SYSTEM_INTERVAL_S", 0.05)
    measured = threading.Event()
    publish = SystemMetricsMonitor.publish_metrics
    monkeypatch.setattr(
        SystemMetricsMonitor, "publish_metrics", lambda monitor, *a: publish(monitor, *a) or measured.set()
    )
    recorded = 0
    for ended in (False, True):  # one that was stopped goes on, one that is complete stays as it is
        tracker = open_tracker()
        measured.clear()
        study = tracker.study_run(key="s1", name="load", params={})
        assert measured.wait(timeout=600)
        tracker.finish(study, ok=ended)
        history = tracker.client.get_metric_history(study, "system/cpu_utilization_percentage")
        steps = [point.step for point in history]
        assert steps == list(range(len(steps)))
        assert len(steps) > recorded
        recorded = len(steps)


def test_a_finished_child_keeps_its_end_and_another_parent_has_its_own(open_tracker):
    tracker = open_tracker()
    first, second = (tracker.study_run(key=key, name=key, params={}) for key in ("c1", "c2"))
    child = tracker.child_run(parent=first, key="shared", name="IN", params={})
    tracker.finish(child, ok=True)
    end = tracker.client.get_run(child).info.end_time
    time.sleep(0.01)
    assert tracker.child_run(parent=first, key="shared", name="IN", params={}) == child
    tracker.finish(child, ok=True)
    assert tracker.client.get_run(child).info.end_time == end
    assert tracker.child_run(parent=second, key="shared", name="IN", params={}) != child
    for study in (first, second):
        tracker.finish(study, ok=False)
        assert tracker.client.get_run(study).info.status == "FAILED"


def test_artifacts_lie_beside_the_database_and_long_values_are_cut(open_tracker, tmp_path):
    tracker = open_tracker()
    many = {f"p{i}": str(i) for i in range(150)} | {"noll[0], waves": "x" * 9000, "a//../b": ""}
    run = tracker.study_run(key="d1", name="files", params=many)
    (tmp_path / "picture.txt").write_text("picture")
    tracker.log_text(run, "<html>", "report/report.html")
    tracker.log_file(run, tmp_path / "picture.txt", "pictures")
    tracker.log_folder(run, tmp_path, "all")
    tracker.log_tags(run, {"outcome": "y" * 9000})
    tracker.finish(run, ok=True)
    assert tracker.problems == []
    data = tracker.client.get_run(run)
    assert "/runs/mlartifacts/" in data.info.artifact_uri
    assert len(data.data.params) == 152
    assert data.data.params["noll_0__ waves"].endswith("xx [cut]")
    assert data.data.params["a/b"] == ""
    assert data.data.tags["outcome"].endswith("yy [cut]")
    paths = {f.path for folder in ("report", "pictures", "all") for f in tracker.client.list_artifacts(run, folder)}
    assert paths == {"report/report.html", "pictures/picture.txt", "all/picture.txt"}
    (tmp_path / "link").symlink_to("/etc/passwd")
    tracker.log_folder(run, tmp_path, "linked")
    assert "is a link to /etc/passwd, outside of the folder" in tracker.problems.pop()
    assert tracker.client.list_artifacts(run, "linked") == []


def test_a_failure_in_the_middle_is_noted_and_filled_in_later(open_tracker, monkeypatch, caplog):
    tracker = open_tracker()
    run = tracker.study_run(key="e1", name="outage", params={})
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="deepblur.tracking"):
        patch.setattr(tracker.client, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("no\nroute")))
        tracker.log_rows(run, curve(1, 3))
        tracker.log_rows(run, curve(1, 4))
        tracker.log_metrics(run, {"psnr_db": 1.0})
        tracker.log_file(run, Path("nowhere.png"))
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow failed and the study goes on without part of its record: OSError: no"
    ]
    assert tracker.problems[:2] == ["curves of outage: OSError: no", "results of outage: OSError: no"]
    assert tracker.problems[2].startswith("nowhere.png of outage: ")
    again = open_tracker()
    assert again.study_run(key="e1", name="outage", params={}) == run
    again.log_rows(run, curve(1, 4))
    again.finish(run, ok=True)
    tracker.finish(run, ok=True)
    assert len(again.client.get_metric_history(run, "loss")) == 4
    assert again.problems == []


def test_a_server_that_has_gone_does_not_cost_its_time_out_at_every_call(open_tracker, monkeypatch):
    tracker = open_tracker()
    calls = []

    def hang(*args, **kwargs):
        calls.append(args)
        time.sleep(1.01)
        raise OSError("timed out")

    monkeypatch.setattr(tracker.client, "search_runs", hang)
    study = tracker.study_run(key="f1", name="gone", params={})
    assert study == tracker.child_run(parent=study, key="f2", name="IN", params={}) == ""
    assert tracker.study_run(key="f3", name="also gone", params={}) == ""
    tracker.log_rows("", curve(1, 2))
    assert len(calls) == 1
    assert tracker.problems[1:] == ["study also gone: not tried, MLflow was failing"]


def test_a_database_that_another_process_has_locked_is_waited_for(open_tracker, uri):
    tracker = open_tracker()
    run = tracker.study_run(key="l1", name="locked", params={})
    other = sqlite3.connect(database_file(uri), isolation_level=None, check_same_thread=False)
    other.execute("begin exclusive")
    start = time.monotonic()
    threading.Timer(1.0, other.close).start()
    tracker.log_rows(run, curve(1, 3))
    assert time.monotonic() - start >= 1.0
    tracker.finish(run, ok=True)
    assert tracker.problems == []
    assert len(tracker.client.get_metric_history(run, "loss")) == 3


@pytest.mark.parametrize(
    "where", ["http://user:secret@127.0.0.1:{port}", "sqlite:////proc/no/mlflow.db", "nonsense://x"]
)
def test_a_place_where_nothing_answers_is_named_at_once(where):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = where.format(port=closed.getsockname()[1])
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"MLflow cannot be used at .*; start that server.* none") as refusal:
        Tracker.open(uri, "study")
    assert time.monotonic() - start < 120, "MLflow's own retries take minutes"
    assert "secret" not in str(refusal.value)


def test_a_deleted_experiment_is_not_written_to(uri):
    tracker = Tracker.open(uri, "gone")
    tracker.client.delete_experiment(tracker.experiment_id)
    with pytest.raises(ConnectionError, match="'gone' was deleted; restore it"):
        Tracker.open(uri, "gone")


def test_the_environment_names_the_server_else_a_file_in_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert default_uri(tmp_path) == "http://host:5000"


def test_without_a_tracker_the_same_calls_do_nothing(tmp_path):
    tracker = NoTracker()
    study = tracker.study_run(key="k", name="n", params={})
    assert tracker.child_run(parent=study, key="k", name="n", params={}) == ""
    tracker.log_rows(study, curve(1, 2))
    tracker.log_metrics(study, {"a": 1.0})
    tracker.log_tags(study, {})
    tracker.log_text(study, "", "a.txt")
    tracker.log_file(study, tmp_path / "absent")
    tracker.log_folder(study, tmp_path)
    tracker.finish(study, ok=True)
    assert tracker.problems == []


def record_of(uri, runs, user, monkeypatch, status=True):
    """What a study of a user with a runs folder leaves; (parent, child)."""
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, user)
    runs.mkdir(exist_ok=True)
    tracker = Tracker.open(uri, "shared", runs=runs)
    study = tracker.study_run(key="k", name="study", params={}, tags={"command": f"--runs {runs.name}"})
    child = tracker.child_run(parent=study, key="c", name="IN", params={})
    ended = {True: (True, False), False: (False, False), "stopped": (False, True)}[status]
    for run in (child, study):
        tracker.finish(run, *ended)
    assert tracker.problems == []
    return study, child


def test_people_who_share_a_server_do_not_share_runs(uri, tmp_path, monkeypatch):
    client = Tracker.open(uri, "shared").client
    first = record_of(uri, tmp_path / "first", "ada", monkeypatch)
    before = [client.get_run(run).to_dictionary() for run in first]
    others = [
        record_of(uri, tmp_path / "second", "ben", monkeypatch, "stopped"),  # another user and folder
        record_of(uri, tmp_path / "third", "ada", monkeypatch),  # the same user in another folder
        record_of(uri, tmp_path / "first", "ben", monkeypatch, False),  # another user in the same folder
    ]
    assert len({run for runs in (first, *others) for run in runs}) == 8
    assert [client.get_run(run).to_dictionary() for run in first] == before
    assert [client.get_run(study).info.status for study, _ in others] == ["KILLED", "FINISHED", "FAILED"]
    assert record_of(uri, tmp_path / "second", "ben", monkeypatch) == others[0]  # the same command goes on
    assert client.get_run(others[0][0]).info.status == "FINISHED"


@pytest.mark.parametrize("status", [False, "stopped"])
def test_what_is_finished_stays_so_whatever_a_repetition_comes_to(status, uri, tmp_path, monkeypatch):
    client = Tracker.open(uri, "shared").client
    runs = record_of(uri, tmp_path / "runs", "cleo", monkeypatch)
    ends = [client.get_run(run).info.end_time for run in runs]
    assert record_of(uri, tmp_path / "runs", "cleo", monkeypatch, status) == runs
    found = [client.get_run(run).info for run in runs]
    assert [info.status for info in found] == ["FINISHED", "FINISHED"]
    assert [info.end_time for info in found] == ends


def test_a_moved_folder_keeps_its_runs_and_a_copy_has_its_own(uri, tmp_path, monkeypatch):
    runs = record_of(uri, tmp_path / "here", "dan", monkeypatch)
    (tmp_path / "here").rename(tmp_path / "moved")
    assert record_of(uri, tmp_path / "moved", "dan", monkeypatch) == runs
    shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    copied = record_of(uri, tmp_path / "copy", "dan", monkeypatch)
    assert set(copied).isdisjoint(runs)
    assert record_of(uri, tmp_path / "copy", "dan", monkeypatch) == copied
    assert record_of(uri, tmp_path / "moved", "dan", monkeypatch) == runs
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    assert record_of(uri, tmp_path / "link", "dan", monkeypatch) == runs
    (tmp_path / "moved" / "folder.json").write_text("null")
    assert set(record_of(uri, tmp_path / "moved", "dan", monkeypatch)).isdisjoint((*runs, *copied))


def test_a_watchdog_takes_back_nothing_that_is_finished(uri, tmp_path):
    tracker = Tracker.open(uri, "shared")
    run = tracker.study_run(key="j", name="study", params={})
    tracker.finish(run, ok=True)
    task = {"uri": uri, "experiment_id": tracker.experiment_id, "tag": DRIVER_TAG, "driver": DRIVER, "ends": {}}
    again = tracker.study_run(key="j", name="study", params={})
    orphaned_runs.end_orphans(task)
    assert again == run
    assert tracker.client.get_run(run).info.status == "FINISHED"
    tracker.finish(run, ok=True)
