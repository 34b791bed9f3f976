"""`--watch`: what a microscope writes is restored once it is complete, until Ctrl-C, and after a restart."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from micro_registry import tikhonov_model
from places import ROOT
from skimage import data

from deepblur import cli
from deepblur.restoration.batch.image_files import Outcome
from deepblur.restoration.batch.restore import restore_files
from deepblur.restoration.batch.watch import _Watch, watch_folders
from deepblur.restoration.commands.outcome import undisturbed
from deepblur.restoration.options import EngineChoice, Options

CAMERA = data.camera()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05)


def image(path, at=100):
    tifffile.imwrite(path, CAMERA[at : at + 64, 150:214])
    return Path(path)


def watched(model, until, **more):
    """(exit code, entries) of a watch that is interrupted after so many images."""
    entries = []

    def told(entry):
        entries.append(entry)
        if len(entries) == until:
            raise KeyboardInterrupt

    more = {"settle_s": 0.2, "pictures": False} | more
    return watch_folders(["in"], "out", told=told, engine=EngineChoice(model=model), **more), entries


def test_a_file_that_is_being_written_waits_until_it_is_complete(here, model):
    content = image("whole.tif").read_bytes()
    image("in/first.tif", 20)

    def microscope():
        with open("in/second.tif", "wb", buffering=0) as file:
            for k in range(0, len(content), len(content) // 12):
                file.write(content[k : k + len(content) // 12])
                time.sleep(0.1)

    writer = threading.Thread(target=microscope)
    writer.start()
    code, entries = watched(model, 2)
    writer.join()
    assert (code, [(entry["input"], entry["status"]) for entry in entries]) == (
        0, [("in/first.tif", "done"), ("in/second.tif", "done")]
    )  # fmt: skip
    batch = restore_files(["in"], "batch", engine=EngineChoice(model=model), pictures=False)
    assert [entry["hashes"] for entry in batch.images] == [entry["hashes"] for entry in entries]


def test_begun_again_it_does_what_came_meanwhile_and_keeps_the_rest(here, model):
    image("in/a.tif")
    assert watched(model, 1)[0] == 0
    image("in/b.tif", 200)
    assert [entry["status"] for entry in watched(model, 2)[1]] == ["kept", "done"]


def test_what_fails_says_so_and_is_tried_again_when_it_changes(here, model, capsys):
    Path("in/a.tif").write_bytes(b"no image")
    entries = []

    def told(entry):
        entries.append(entry["status"])
        if entry["status"] == "done":
            raise KeyboardInterrupt
        image("in/a.tif")

    engine = EngineChoice(model=model)
    assert watch_folders(["in"], "out", told=told, engine=engine, settle_s=0.2, pictures=False) == 0
    assert entries == ["failed", "done"]
    assert capsys.readouterr().err.count("error: in/a.tif") == 1
    Path("in/b.tif").write_bytes(b"no image")
    assert watched(model, 2)[0] == 4


def test_a_file_is_complete_when_it_has_not_changed_for_the_time(here):
    watch = _Watch([Path("in")], Path("out"), recursive=False, settle_s=10.0)
    names = lambda now: [item.path.name for item in watch.complete(now).items]  # noqa: E731
    assert names(0.0) == []
    image("in/a.tif")
    assert [names(1.0), names(10.9)] == [[], []]
    os.utime("in/a.tif", (1, 1))
    assert [names(11.0), names(20.9), names(21.0), names(50.0)] == [[], [], ["a.tif"], []]
    image("in/b.tif", 20)
    os.replace("in/b.tif", "in/a.tif")
    assert [names(51.0), names(61.0), names(99.0)] == [[], ["a.tif"], []]


def test_a_set_that_was_not_complete_is_tried_again_when_its_other_part_comes(here):
    watch = _Watch([Path("in")], Path("out"), recursive=False, settle_s=1.0)
    first = image("in/a.ome.tif")
    watch.complete(0.0)
    assert [item.path for item in watch.complete(1.0).items] == [first]
    watch.learn(Outcome({"input": "in/a.ome.tif", "status": "failed", "error": "a part is missing"}, 4))
    assert list(watch.failed.values()) == [4]
    assert watch.complete(2.0).items == ()
    watch.learn(Outcome({"input": "in/b.ome.tif", "status": "part", "first": str(Path("in/a.ome.tif").resolve())}))
    assert [item.path for item in watch.complete(3.0).items] == [first]
    watch.learn(Outcome({"input": "in/a.ome.tif", "status": "done"}))
    assert watch.failed == {}


def test_a_folder_that_vanishes_is_waited_for(here, capsys):
    Path("other").mkdir()
    watch = _Watch([Path("in"), Path("other")], Path("out"), recursive=False, settle_s=1.0)
    image("in/a.tif")
    shutil.move("other", "away")
    watch.complete(0.0)
    assert watch.complete(5.0).items == ()
    assert capsys.readouterr().err == "note: other is gone; waiting for it to come back\n"
    shutil.move("away", "other")
    watch.complete(6.0)
    assert [str(item.below) for item in watch.complete(7.0).items] == ["in"]


def test_ctrl_c_ends_the_command_cleanly_and_json_has_a_line_for_each_image(here, model):
    image("in/a.tif")
    line = [sys.executable, "-m", "deepblur.cli", "restore", "in", "-o", "out", "--watch", "--settle", "0.2", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*line, "--model", str(model), "--no-pictures"], env=environment, **pipes) as command:
        assert json.loads(command.stdout.readline())["input"] == "in/a.tif"
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, "")
    assert err.splitlines()[-2:] == [
        "watching in; Ctrl-C ends it", "stopped; the same command goes on with what is not done"
    ]  # fmt: skip
    assert not list(Path("out").glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_line_is_out(number):
    before, out = signal.getsignal(number), []

    def line():
        with undisturbed():
            os.kill(os.getpid(), number)
            out.append("a line")

    with pytest.raises(KeyboardInterrupt):
        line()
    assert out == ["a line"]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("words", "code", "match"),
    [
        (["in/a.tif"], 4, "in/a.tif: --watch takes folders, and this is none"),
        (["in", "--settle", "0"], 2, "--settle is a number of seconds above 0; got 0"),
        (["in", "--workers", "0"], 2, "got 0"),
    ],
)
def test_what_cannot_be_watched_is_refused(words, code, match, here, model, capsys):
    image("in/a.tif")
    assert cli.main(["restore", *words, "-o", "out", "--watch", "--model", str(model)]) == code
    assert match in capsys.readouterr().err


def test_two_workers_do_what_has_gathered(here, model):
    for k in range(3):
        tifffile.imwrite(f"in/{k}.tif", CAMERA[50 * k : 50 * k + 64, 150:214].astype(np.float32))
    code, entries = watched(model, 3, workers=2, options=Options(max_memory_gib=4.0))
    assert code == 0
    assert {entry["status"] for entry in entries} == {"done"}
    batch = restore_files(["in"], "batch", engine=EngineChoice(model=model), pictures=False)
    assert [entry["hashes"] for entry in batch.images] == [
        entry["hashes"] for entry in sorted(entries, key=lambda entry: entry["input"])
    ]
