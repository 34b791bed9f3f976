"""Whoever kills a study's driver, no run of it stays RUNNING, and the same command goes on with the same runs."""

import os
import signal
import subprocess
import sys
import time

import psutil

from deepblur.platform.tracking.orphaned_runs import Watchdog, wait_for_driver
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


def watchdogs(pid):
    """Those that this process started."""
    return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[-1] == str(pid)
            and p.info["cmdline"][-2].endswith("orphaned_runs.py")]  # fmt: skip


def statuses(tracker):
    runs = tracker.client.search_runs([tracker.experiment_id])
    return {run.info.run_name: run.info.status for run in runs}


def test_a_killed_driver_leaves_no_run_running(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    others = len(watchdogs(os.getpid()))  # of records that other tests of this process left open
    tracker = Tracker.open(uri, "study")  # the tables exist before the driver starts
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, uri], stdout=subprocess.PIPE, text=True)
    assert driver.stdout.readline() == "ready\n"
    (watchdog,) = watchdogs(driver.pid)
    assert watchdog.memory_info().rss < 30e6
    assert os.getpgid(watchdog.pid) != os.getpgid(driver.pid)  # Ctrl-C does not reach it
    assert statuses(tracker) == {"study": "RUNNING", "a": "FINISHED", "b": "RUNNING"}
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    watchdog.wait(timeout=240)
    assert statuses(tracker) == {"study": "KILLED", "a": "FINISHED", "b": "KILLED"}

    parent = tracker.study_run(key="s", name="study", params={})
    children = [tracker.child_run(parent=parent, key=key, name=key, params={}) for key in "ab"]
    assert statuses(tracker) == {"study": "RUNNING", "a": "FINISHED", "b": "RUNNING"}
    for run in (*children, parent):
        assert len(watchdogs(os.getpid())) == others + 1
        tracker.finish(run, ok=True)
    assert statuses(tracker) == dict.fromkeys(("study", "a", "b"), "FINISHED")
    assert len(watchdogs(os.getpid())) == others


def test_a_watchdog_ends_only_runs_of_its_driver_and_as_that_told_it(tmp_path):
    tracker = Tracker.open(f"sqlite:///{tmp_path}/mlflow.db", "study")
    run = tracker.study_run(key="s", name="study", params={})
    late = Watchdog(tracker.uri, tracker.experiment_id, "deepblur.driver", "a driver that died")
    late._process.stdin.close()
    late._process.wait(timeout=240)
    assert statuses(tracker) == {"study": "RUNNING"}
    tracker.client.set_tag(run, "deepblur.driver", "a driver that MLflow failed")
    failed = Watchdog(tracker.uri, tracker.experiment_id, "deepblur.driver", "a driver that MLflow failed")
    failed.expect(run, "FAILED")
    failed._process.stdin.close()
    failed._process.wait(timeout=240)
    assert statuses(tracker) == {"study": "FAILED"}
    tracker.finish(run, ok=False, stopped=True)
    assert statuses(tracker) == {"study": "KILLED"}


def test_a_watchdog_told_that_all_is_done_ends_at_once_and_one_that_is_gone_stops_nobody():
    watchdog = Watchdog("sqlite:////nowhere/mlflow.db", "0", "tag", "driver")
    while _ignored(watchdog._process.pid) != {signal.SIGINT, signal.SIGTERM}:
        time.sleep(0.01)
    for number in (signal.SIGINT, signal.SIGTERM):
        watchdog._process.send_signal(number)
    time.sleep(0.1)
    assert watchdog._process.poll() is None
    watchdog.dismiss()
    assert watchdog._process.returncode == 0
    gone = Watchdog("sqlite:////nowhere/mlflow.db", "0", "tag", "driver")
    gone._process.kill()
    gone._process.wait()
    gone.expect("run", "FINISHED")
    gone.dismiss()


def test_a_driver_that_is_gone_before_its_watchdog_looks_is_noticed():
    assert wait_for_driver(driver=os.getppid() + 1) == {"ends": {}}


def _ignored(pid):
    with open(f"/proc/{pid}/status") as file:
        mask = int(next(line.split()[1] for line in file if line.startswith("SigIgn")), 16)
    return {number for number in (signal.SIGINT, signal.SIGTERM) if mask >> (number - 1) & 1}
