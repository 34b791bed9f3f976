"""The study through Ray: the same bits as without it, whoever is killed; and data-parallel training.

Each test starts a cluster of its own that ends with its driver.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
from places import TESTS

pytestmark = pytest.mark.ray
STUDY = TESTS.joinpath("micro_study.py")
SLOW = ("--set", "in_steps=150", "--set", "dn_steps=150")  # long enough to be shot at


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    temporary = f"/tmp/dbr{os.getpid()}"  # Ray's socket paths must stay short
    return {**os.environ, "RAY_TMPDIR": temporary, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": "local"}  # fmt: skip


def command(runs, *options):
    base = [sys.executable, str(STUDY), "--data", "dead-leaves", "--tracking-uri", "none", "--runs", str(runs)]
    return [*base, *options]


def start(runs, environment, *options):
    log = (runs.parent / f"{runs.name}.log").open("ab")
    return subprocess.Popen(command(runs, *options), env=environment, stdout=log, stderr=subprocess.STDOUT)


def finish(process, runs, timeout=900):
    code = process.wait(timeout=timeout)
    log = (runs.parent / f"{runs.name}.log").read_text()
    assert code == 0, log
    return log


def items(runs):
    (file,) = runs.glob("studies/*/items.parquet")
    return pd.read_parquet(file)


def curves(runs):
    files = sorted(runs.glob("stages/*/curve.jsonl"))
    return {f.parent.name: [json.loads(line) for line in f.read_text().splitlines()] for f in files}


def wait_for_a_checkpoint(process, runs, seconds=600):
    """Until some training has shown its first validation."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if any(file.stat().st_size for file in runs.glob("live/*.jsonl")):
            return
        assert process.poll() is None, "the study ended before it could be disturbed"
        time.sleep(0.05)
    raise TimeoutError("no training showed a validation")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same study in one process without Ray: the truth that every other way must reproduce."""
    runs = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(command(runs, "--local", *SLOW), check=True, stdout=subprocess.DEVNULL)
    return runs


def test_a_killed_worker_and_a_killed_driver_change_nothing(undisturbed, environment, tmp_path):
    runs = tmp_path / "runs"
    process = start(runs, environment, *SLOW)
    wait_for_a_checkpoint(process, runs)
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if "RayTrainWorker" in " ".join(p.cmdline())
    ]
    assert workers, "no training worker was found"
    workers[0].send_signal(signal.SIGKILL)
    while not list(runs.glob("stages/[!.]*/weights.safetensors")):  # it recovered and finished a stage
        assert process.poll() is None, (tmp_path / "runs.log").read_text()
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    psutil.wait_procs(children, timeout=60)

    log = finish(start(runs, environment, *SLOW), runs)
    assert "5 stages, 0 done before" in log
    assert "5 stages, 5 done before" not in log
    pd.testing.assert_frame_equal(items(runs), items(undisturbed))
    truth = curves(undisturbed)
    for key, rows in curves(runs).items():
        for row, expected in zip(rows, truth[key], strict=True):
            times = dict.fromkeys(("images_per_s", "train_s", "peak_mb"), 0)
            assert {**row, **times} == {**expected, **times}


def test_a_method_that_takes_its_process_down_costs_its_own_rows_only(environment, tmp_path):
    study = TESTS.joinpath("slow_comparison.py")
    line = [sys.executable, str(study), *command(tmp_path / "runs")[2:]]
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shot = 0
    while process.poll() is None:
        for p in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if p.cmdline()[:1] and p.cmdline()[0].startswith("ray::assessment slow"):
                    p.kill()
                    shot += 1
        time.sleep(0.2)
    log = process.stdout.read()
    assert process.returncode == 0, log
    assert shot >= 3, "it is tried again, in case a node was lost"
    (file,) = (tmp_path / "runs").glob("studies/*/items.parquet")
    table = pd.read_parquet(file).set_index("arm")
    assert table.status.to_dict() == {"blurry": "ok", "slow": "failed"}
    assert "slow" in log


def test_two_workers_learn_what_one_learns(environment, tmp_path):
    """Group norm and block-wise draws make the global batch the same; only the order of sums differs."""
    found = {}
    for workers in (1, 2):
        runs = tmp_path / f"w{workers}"
        finish(start(runs, environment, "--arms", "true", "--workers", str(workers)), runs)
        found[workers] = curves(runs)
    assert found[1].keys() == found[2].keys()
    for key, rows in found[1].items():
        for one, two in zip(rows, found[2][key], strict=True):
            assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
            assert one["step"] == two["step"]


def test_a_stage_that_fails_on_a_worker_ends_in_its_own_error(environment, tmp_path):
    process = subprocess.run(
        command(tmp_path / "runs", "--set", "lr=1e30"), env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert "Traceback" in process.stderr
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("error: stage ")
    assert "FloatingPointError: the loss is" in last
    assert "lower lr (now 1e+30)" in last


def test_a_training_that_the_cluster_cannot_hold_is_refused_at_once(environment, tmp_path):
    process = subprocess.run(
        command(tmp_path / "runs", "--workers", "512"), env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert "one training needs 512 workers of 1 CPU, and the cluster has room for" in process.stderr.splitlines()[-1]
