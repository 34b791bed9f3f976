"""A small study as a command of its own, to be shot at, and what it leaves."""

import json
import subprocess
import sys
import time

import pandas as pd
import pytest
from places import TESTS

STUDY, UNCERTAINTY = TESTS / "micro_study.py", TESTS / "micro_uncertainty.py"
PATIENCE_S = 1200
"""Far more than anything here takes; the machine may be busy with other work."""
_TIMES = dict.fromkeys(("images_per_s", "train_s", "peak_mb"), 0)


def command(study, runs, *options):
    return [sys.executable, str(study), "--data", "photos", "--tracking-uri", "none", "--runs", str(runs), *options]


def start(study, runs, environment, *options):
    log = (runs.parent / f"{runs.name}.log").open("ab")
    return subprocess.Popen(command(study, runs, *options), env=environment, stdout=log, stderr=subprocess.STDOUT)


def finish(process, runs):
    """What it said, when it has ended well."""
    code = process.wait(timeout=PATIENCE_S)
    log = (runs.parent / f"{runs.name}.log").read_text()
    assert code == 0, log
    return log


def wait(happens, process):
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert process.poll() is None, "the study ended before it could be disturbed"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def wait_for_a_checkpoint(process, runs):
    """Until some training has shown its first validation."""
    wait(lambda: any(file.stat().st_size for file in runs.glob("live/*.jsonl")), process)


def items(runs):
    (file,) = runs.glob("studies/*/items.parquet")
    return pd.read_parquet(file)


def curves(runs):
    files = sorted(runs.glob("stages/*/curve.jsonl"))
    return {f.parent.name: [json.loads(line) for line in f.read_text().splitlines()] for f in files}


def same(found, truth, rel=None):
    """Whether two curves agree: to the bit, or in the loss up to `rel`."""
    assert truth
    assert found.keys() == truth.keys()
    for key, rows in found.items():
        for row, expected in zip(rows, truth[key], strict=True):
            if rel is None:
                assert {**row, **_TIMES} == {**expected, **_TIMES}
            else:
                assert row["step"] == expected["step"]
                assert row["loss"] == pytest.approx(expected["loss"], rel=rel)
