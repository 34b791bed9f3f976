"""Many images at once: the same results, and what the death of a process, Ctrl-C and a killed command leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
import torch
from micro_registry import tikhonov_model
from places import ROOT
from skimage import data

from deepblur import cli
from deepblur.restoration.batch import crew
from deepblur.restoration.batch.image_files import Outcome, Progress
from deepblur.restoration.batch.inputs import Given, items_of
from deepblur.restoration.batch.many import Death, run_together, threads_each, with_threads
from deepblur.restoration.batch.ownership import Item

CAMERA = data.camera()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05))


@pytest.fixture
def images(tmp_path, monkeypatch):
    """The folder `in` with four images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for k in range(4):
        values = CAMERA[40 * k : 40 * k + 200, 150:350]  # enough pixels for sums over several threads
        tifffile.imwrite(f"in/{k}.tif", values.astype(np.float32))
    return tmp_path


def command(model, out, *more):
    return ["restore", "in", "-o", out, "--model", model, "--restorer", "richardson-lucy", "--no-pictures", *more]


def same_files(one, other):
    names = sorted(file.name for file in Path(one).iterdir())
    assert sorted(file.name for file in Path(other).iterdir()) == names
    for name in names:
        if not name.endswith("_report.json"):  # which holds the seconds
            assert (Path(one) / name).read_bytes() == (Path(other) / name).read_bytes(), name


def test_two_workers_make_what_one_makes_in_the_same_order(images, model, capsys):
    Path("in/2.tif").write_bytes(b"no image")
    said = {}
    for n in ("1", "2"):
        assert cli.main(command(model, n, "--workers", n, "--json")) == 4
        told = capsys.readouterr()
        assert told.err.count("error: in/2.tif") == 1
        said[n] = json.loads(told.out)["images"]
    assert [entry["input"] for entry in said["2"]] == [f"in/{k}.tif" for k in range(4)]
    assert [entry.get("hashes") for entry in said["1"]] == [entry.get("hashes") for entry in said["2"]]
    same_files("1", "2")
    assert cli.main(command(model, "2", "--json")) == 4  # whatever their number was
    assert [entry["status"] for entry in json.loads(capsys.readouterr().out)["images"]] == [
        "kept", "kept", "failed", "kept"
    ]  # fmt: skip


STRUCK = """
import os, signal, time
replace = os.replace
def struck(old, new):
    if str(new).endswith("1_psf.tif") and "out" in str(new):
        with open("struck", "a") as file:
            file.write(f"{os.getpid()}\\n")
        if WHEN:
            HOW
    replace(old, new)
os.replace = struck
"""
DIES = "os.kill(os.getpid(), signal.SIGKILL)"


def strike(folder, how, when="True"):
    """Environment of workers to which this happens, when an image is restored and its PSF is about to be written."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(STRUCK.replace("WHEN", when).replace("HOW", how))
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}


def run(environment, *words, **more):
    line = [sys.executable, "-m", "deepblur.cli", *words]
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True, stdout=subprocess.PIPE, **more)


@pytest.mark.parametrize("always", [False, True])
def test_a_process_that_dies_costs_its_image_one_more_try(always, images, model):
    when = "True" if always else "len(open('struck').readlines()) == 1"
    driver = run(strike(images, DIES, when), *command(model, "out", "--workers", "2", "--json"))
    out, err = driver.communicate(timeout=300)
    assert err.count("note: in/1.tif: the process at work on it was killed by SIGKILL; tried once more") == 1
    assert driver.returncode == (4 if always else 0)
    statuses = [entry["status"] for entry in json.loads(out)["images"]]
    assert statuses == ["done", "failed" if always else "done", "done", "done"]
    assert ("error: in/1.tif: the process at work on it was killed by SIGKILL, 2 times; if memory" in err) == always
    assert not list(Path("out").glob(".*"))
    assert bool(list(Path("out").glob("1_*"))) != always
    assert cli.main(command(model, "out")) == 0
    assert cli.main(command(model, "undisturbed")) == 0
    same_files("out", "undisturbed")


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_takes_its_workers_along(signal_, images, model):
    driver = run(strike(images, "time.sleep(600)"), *command(model, "out", "--workers", "2"))
    while not Path("struck").exists():
        assert driver.poll() is None, driver.stderr.read()
        time.sleep(0.05)
    workers = psutil.Process(driver.pid).children()
    assert 1 <= len(workers) <= 2
    driver.send_signal(signal_)
    err = driver.communicate(timeout=60)[1]
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    if signal_ != signal.SIGKILL:
        assert driver.returncode == 130
        assert err.count("stopped; the same command goes on with what is not done") == 1
        assert "Traceback" not in err
        assert not list(Path("out").glob(".*"))
    assert not list(Path("out").glob("1_*"))
    assert cli.main(command(model, "out", "--workers", "2")) == 0
    assert cli.main(command(model, "undisturbed")) == 0
    same_files("out", "undisturbed")


class Script:
    """A crew that does what a test says: image → what happens to it, time after time."""

    def __init__(self, room=2, **happens):
        self.room, self.happens = room, {int(i[1:]): list(events) for i, events in happens.items()}
        self.begun, self.busy = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.busy = []

    def has_room(self):
        return len(self.busy) < self.room

    def begin(self, i, item):
        self.begun.append(i)
        self.busy.append(i)

    def events(self):
        i = self.busy.pop()
        happens = self.happens.get(i)
        return [(i, happens.pop(0) if happens else done(i))]


class Nothing:
    """A job of which nothing is done already."""

    def kept(self, item):
        return None

    def abandon(self, item):
        pass


def done(i):
    return Outcome({"input": str(i), "status": "done"})


def given(*names):
    return Given(tuple(Item(Path(name), Path(name).stem) for name in names))


def test_what_needs_all_of_the_memory_is_done_when_the_workers_are_gone(capsys):
    script = Script(_1=[Outcome({"status": "failed", "error": "too large"}, 4, put_off=True)])
    alone = []

    def restore(item, tick):
        alone.append((item.name, script.busy))
        return {"input": item.name, "status": "done"}

    results = run_together(given("a", "b", "c"), Nothing(), script, restore)
    assert alone == [("b", [])]
    assert (results.exit_code, [entry["status"] for entry in results.images]) == (0, ["done"] * 3)
    assert "note: 1 of the images need more than a worker's share of --max-memory" in capsys.readouterr().err


def test_images_that_may_want_the_same_names_are_done_in_their_order():
    script = Script(room=8)
    run_together(given("a.tif", "x/A.tif", "a-2.tif", "b.tif"), Nothing(), script, None)
    assert script.begun == [0, 3, 1, 2]


def test_an_image_whose_process_dies_twice_has_failed(capsys):
    script = Script(_0=[Death("was killed by SIGKILL")] * 2)
    results = run_together(given("one.tif", "b.tif"), Nothing(), script, None)
    assert (results.exit_code, len(script.begun)) == (4, 3)
    assert results.images[0]["error"].startswith(
        "one.tif: the process at work on it was killed by SIGKILL, 2 times; if mem"
    )


def test_the_number_of_threads_does_not_follow_that_of_the_workers(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(1), threads_each(2), threads_each(1000)] == [before, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    assert threads_each(2) == before
    with with_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_line_of_progress_foretells_from_what_was_done_and_not_from_what_was_kept(images, monkeypatch):
    found = items_of([Path("in")])
    with Progress(found) as progress:
        bar = progress._bar = type("Bar", (), {"disable": False, "initial": 0, "n": 0.0, "close": lambda self: None})()
        bar.update = lambda share: setattr(bar, "n", bar.n + share)
        progress.end(0, Outcome({"input": "0", "status": "kept"}))
        progress.tick(1, 0.5)
        progress.tick(2, 0.25)
        assert (bar.n, bar.initial) == (1.75, 1)
        progress.lose(2)
        progress.end(1, done(1))
        assert (bar.n, bar.initial) == (2, 1)


@pytest.mark.parametrize("workers", ["0", "-1", "5000"])
def test_a_number_of_workers_that_is_none_is_refused(workers, images, model, capsys):
    assert cli.main(command(model, "out", "--workers", workers)) == 2
    assert f"--workers is a number of processes from 1 to 1024; got {workers}" in capsys.readouterr().err


def test_so_many_workers_as_the_memory_has_room_for(images, model, monkeypatch, capsys):
    monkeypatch.setattr(crew, "workers_that_fit", lambda options: int(options.max_memory_gib) // 8)
    assert cli.main(command(model, "out", "--workers", "8", "--max-memory", "8")) == 0
    assert "note: --max-memory 8 has room for 1 of 8 workers" in capsys.readouterr().err
