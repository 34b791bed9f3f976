"""Whoever kills a study's driver, no run of it stays RUNNING, and the same command goes on with the same runs."""

import os
import signal
import subprocess
import sys
import time

import psutil

from deepblur.platform.tracking.orphaned_runs import Janitor, attend
from deepblur.platform.tracking.tracker import Tracker

DRIVER = """
import sys, time
from deepblur.platform.tracking.tracker import Tracker
tracker = Tracker.open(sys.argv[1], "study")
parent = tracker.study_run(key="s", name="study", params={})
children = [tracker.child_run(parent=parent, key=key, name=key, params={}) for key in "ab"]
tracker.finish(children[0], ok=True)
print("ready", flush=True)
time.sleep(600)
"""


def janitors(pid):
    """Those that this process started."""
    return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[-1] == str(pid)
            and p.info["cmdline"][-2].endswith("orphaned_runs.py")]  # fmt: skip


def statuses(tracker):
    runs = tracker.client.search_runs([tracker.experiment_id])
    return {run.info.run_name: run.info.status for run in runs}


def test_a_killed_driver_leaves_no_run_running(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    others = len(janitors(os.getpid()))  # of records that other tests of this process left open
    tracker = Tracker.open(uri, "study")  # the tables exist before the driver starts
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, uri], stdout=subprocess.PIPE, text=True)
    assert driver.stdout.readline() == "ready\n"
    (janitor,) = janitors(driver.pid)
    assert janitor.memory_info().rss < 30e6
    assert os.getpgid(janitor.pid) != os.getpgid(driver.pid)  # Ctrl-C does not reach it
    assert statuses(tracker) == {"study": "RUNNING", "a": "FINISHED", "b": "RUNNING"}
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    janitor.wait(timeout=240)
    assert statuses(tracker) == {"study": "KILLED", "a": "FINISHED", "b": "KILLED"}

    parent = tracker.study_run(key="s", name="study", params={})
    children = [tracker.child_run(parent=parent, key=key, name=key, params={}) for key in "ab"]
    assert statuses(tracker) == {"study": "RUNNING", "a": "FINISHED", "b": "RUNNING"}
    for run in (*children, parent):
        assert len(janitors(os.getpid())) == others + 1
        tracker.finish(run, ok=True)
    assert statuses(tracker) == dict.fromkeys(("study", "a", "b"), "FINISHED")
    assert len(janitors(os.getpid())) == others


def test_a_janitor_ends_only_runs_of_its_driver_and_as_that_told_it(tmp_path):
    tracker = Tracker.open(f"sqlite:///{tmp_path}/mlflow.db", "study")
    run = tracker.study_run(key="s", name="study", params={})
    late = Janitor(tracker.uri, tracker.experiment_id, "deepblur.driver", "a driver that died")
    late._process.stdin.close()
    late._process.wait(timeout=240)
    assert statuses(tracker) == {"study": "RUNNING"}
    tracker.client.set_tag(run, "deepblur.driver", "a driver that MLflow failed")
    failed = Janitor(tracker.uri, tracker.experiment_id, "deepblur.driver", "a driver that MLflow failed")
    failed.expect(run, "FAILED")
    failed._process.stdin.close()
    failed._process.wait(timeout=240)
    assert statuses(tracker) == {"study": "FAILED"}
    tracker.finish(run, ok=False, stopped=True)
    assert statuses(tracker) == {"study": "KILLED"}


def test_a_janitor_that_is_told_goodbye_ends_at_once_and_one_that_is_gone_stops_nobody():
    janitor = Janitor("sqlite:////nowhere/mlflow.db", "0", "tag", "driver")
    while _ignored(janitor._process.pid) != {signal.SIGINT, signal.SIGTERM}:
        time.sleep(0.01)
    for number in (signal.SIGINT, signal.SIGTERM):
        janitor._process.send_signal(number)
    time.sleep(0.1)
    assert janitor._process.poll() is None
    janitor.dismiss()
    assert janitor._process.returncode == 0
    gone = Janitor("sqlite:////nowhere/mlflow.db", "0", "tag", "driver")
    gone._process.kill()
    gone._process.wait()
    gone.expect("run", "FINISHED")
    gone.dismiss()


def test_a_driver_that_is_gone_before_its_janitor_looks_is_noticed():
    assert attend(driver=os.getppid() + 1) == {"ends": {}}


def _ignored(pid):
    with open(f"/proc/{pid}/status") as file:
        mask = int(next(line.split()[1] for line in file if line.startswith("SigIgn")), 16)
    return {number for number in (signal.SIGINT, signal.SIGTERM) if mask >> (number - 1) & 1}
