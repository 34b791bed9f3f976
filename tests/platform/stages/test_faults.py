"""Full disks, cut files and deaths at bad moments: one clear sentence, and nothing half-written counts as done."""

import errno
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from micro_study import STUDY
from PIL import Image
from places import TESTS

from deepblur.platform.arms.trained import collect
from deepblur.platform.data.sources import Folder
from deepblur.platform.data.store import open_store
from deepblur.platform.experiment.main import main
from deepblur.platform.stages.finished import RESULT
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import DiskFullError, writing
from deepblur.platform.system.seal import write_sealed
from deepblur.platform.training import in_process

OPTIONS = ("--local", "--arms", "true", "--data", "photos", "--tracking-uri", "none")
FULL = r"the disk of .* is full \(\d+\.\d MB free\); make room, then the same command goes on where this one stopped"


def run(runs):
    """The exit code of a small study, in this process."""
    return main(STUDY, [*OPTIONS, "--runs", str(runs)])


def done(runs):
    with closing(sqlite3.connect(runs / "ledger.db")) as database:
        return {key for (key,) in database.execute("select key from stage where state = 'done'")}


def results(runs):
    """The table of results and the weights, to the bit."""
    (file,) = runs.glob("studies/*/items.parquet")
    return file.read_bytes(), {f.parent.name: f.read_bytes() for f in runs.glob("stages/*/weights.safetensors")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("undisturbed")
    assert run(runs) == 0
    return runs


class SmallDisk:
    """A disk that can be full; where none may be mounted, writing to it fails at once as if it were."""

    def __init__(self, folder):
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
        self.mounted = not os.geteuid() and not subprocess.run(command, capture_output=True, check=False).returncode

    def fill(self):
        if not self.mounted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with (self.folder / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.folder).free)

    def make_room(self):
        (self.folder / "ballast").unlink(missing_ok=True)

    def unmount(self):
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = SmallDisk(tmp_path)
    yield disk
    disk.unmount()


def before(monkeypatch, place, name, action, call=1):
    """Do something before the n-th call of a function."""
    function, calls = getattr(place, name), iter(range(1, 1000))

    def instead(*args, **kwargs):
        if next(calls) == call:
            action()
        return function(*args, **kwargs)

    monkeypatch.setattr(place, name, instead)


@pytest.mark.parametrize(
    ("place", "name", "finished"),
    [(in_process, "save_state", 0), (in_process, "save_file", 0), (Ledger, "finish", 0),
     (collect, "collect", 3)],
)  # fmt: skip
def test_a_study_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    disk, undisturbed, place, name, finished, monkeypatch, capsys
):
    runs = disk.folder / "runs"
    shutil.copytree(undisturbed / "cache", runs / "cache")
    with monkeypatch.context() as patch:
        before(patch, place, name, disk.fill)
        assert run(runs) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match("error: .* could not be written: " + FULL, last), last
    assert len(done(runs)) == finished
    disk.make_room()
    assert run(runs) == 0
    assert results(runs) == results(undisturbed)
    assert not list(runs.rglob("*.tmp")) + list(runs.rglob("*.partial")) + list(runs.glob("stages/.*"))


def test_a_cache_that_does_not_fit_leaves_nothing(disk, tmp_path):
    if not disk.mounted:
        pytest.skip("no right to mount a small disk")
    values = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for k in range(4):
        Image.fromarray(values.integers(0, 256, (60, 60), dtype=np.uint8)).save(tmp_path / "images" / f"{k}.png")
    folder, cache = Folder(str(tmp_path / "images")), disk.folder / "cache"
    disk.fill()
    with pytest.raises(DiskFullError, match="the study could not be written: " + FULL), writing("the study", cache):
        open_store((folder,), cache)
    assert [path for path in cache.glob("*") if path.is_dir()] == []
    disk.make_room()
    assert len(open_store((folder,), cache)) == 4


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), writing("it", tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(DiskFullError) as found, writing("outer", tmp_path), writing("inner", tmp_path / "absent"):
        raise RuntimeError("stage failed: OSError: [Errno 28] No space left on device")
    assert str(found.value).startswith("inner could not be written")


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from micro_study import STUDY
from deepblur.platform.stages.ledger import Ledger
Ledger.finish = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
STUDY.main(sys.argv[2:])
"""


def test_a_driver_killed_before_it_told_the_ledger_repeats_nothing_that_counts(undisturbed, tmp_path):
    line = [sys.executable, "-c", KILLED, str(TESTS), *OPTIONS, "--runs", str(tmp_path)]
    shutil.copytree(undisturbed / "cache", tmp_path / "cache")
    assert subprocess.run(line, check=False, stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL
    assert done(tmp_path) == set()
    (finished,) = tmp_path.glob("stages/*/weights.safetensors")
    written = finished.stat()
    assert run(tmp_path) == 0
    assert finished.stat().st_ino == written.st_ino
    assert results(tmp_path) == results(undisturbed)


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_checkpoint_costs_its_stage_only(undisturbed, damage, tmp_path, monkeypatch, capsys):
    shutil.copytree(undisturbed / "cache", tmp_path / "cache")

    def stop():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before(patch, in_process, "save_state", stop, call=3)
        assert run(tmp_path) == 130
    (checkpoint,) = tmp_path.glob("train/*/state.pt")
    match damage:
        case "cut":
            os.truncate(checkpoint, checkpoint.stat().st_size // 2)
        case "garbage":
            checkpoint.write_bytes(os.urandom(5000))
    capsys.readouterr()
    assert run(tmp_path) == 0
    assert f"the checkpoint {checkpoint} is damaged" in capsys.readouterr().out
    assert results(tmp_path) == results(undisturbed)


@pytest.mark.parametrize("text", ['{"step": 1.0, "lo', "\0\0\0\0", None])
def test_a_curve_that_is_only_shown_stops_nobody(text, tmp_path):
    live = tmp_path / "curve.jsonl"
    if text is not None:
        live.write_text(text)
    assert Work.live_rows(SimpleNamespace(live=live)) == []


def test_what_killed_drivers_left_is_gone_at_the_next_start(tmp_path):
    for file in (
        "live/.a.jsonl.1.partial",
        "studies/s-1/figures/.a.png.1.partial",
        "live/a.jsonl",
        "live/b.jsonl",
        "train/a/state.pt",
        "train/b/state.pt",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    with Ledger(tmp_path) as ledger:
        for key in ("a", "b"):
            ledger.start(key, "identify", "IN")
        ledger.folder("a").mkdir()
        told = {"key": "a", "result": {"seconds": 1.0}, "files": {}}
        write_sealed(ledger.folder("a") / RESULT, told)
        ledger.finish("a", told["result"])
    with Ledger(tmp_path):
        left = sorted(str(path.relative_to(tmp_path)) for path in [*tmp_path.glob("live/*"), *tmp_path.glob("train/*")])
    assert left == ["live/b.jsonl", "train/b"]
    assert not list(tmp_path.rglob("*.partial"))
