"""Names and files that no camera gives: pipes, devices, bytes that are no text, and text that moves the cursor."""

import ctypes
import json
import os
import re
import socket
import sys
from pathlib import Path

import pytest
import tifffile
from micro_registry import tikhonov_model
from skimage import data

from deepblur import cli
from deepblur.platform.data.image_file import read_grey
from deepblur.platform.data.sources import Folder
from deepblur.platform.data.store import open_store
from deepblur.platform.report.template import filled
from deepblur.platform.system.errors import UnreadableImageError
from deepblur.platform.system.printable import json_text, note, printable
from deepblur.restoration.images.io import read_recording

LATIN_1 = os.fsdecode(b"gr\xf6\xdfe.tif")
EVIL = "x\x1b[2J\x1b]0;owned\x07\nb.tif -> b_restored.tif  [good] all\u202e is \u0085well\x9b.tif"
LOUD = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tikhonov_model(tmp_path_factory.mktemp("model") / "model", 0.05))


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    tifffile.imwrite("in/b.tif", data.camera()[100:164, 150:214])
    return Path("in")


def make_pipe(path):
    os.mkfifo(path)


def make_link_to_pipe(path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def make_device(path):
    path.symlink_to("/dev/zero")


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name if path.parent == Path() else os.path.relpath(path))


KINDS = {make_pipe: "a pipe", make_link_to_pipe: "a pipe", make_device: "a device", make_socket: "a socket"}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("command", ["restore", "identify", "simulate", "calibrate"])
def test_what_is_no_file_is_refused_before_it_is_opened(command, make, images, model, capsys):
    make(images / "a.tif")
    given = "in" if command in ("restore", "identify") else "in/a.tif"
    more = ["--model", model, "--no-pictures"] if given == "in" else []
    output = "out/x.safetensors" if command == "calibrate" else "out"
    assert cli.main([command, given, "-o", output, *more]) == 4
    said = capsys.readouterr()
    sentence = f"in/a.tif: is not a file but {KINDS[make]}; save the image as a file"
    assert [line for line in said.err.splitlines() if line.startswith("error")] == [f"error: {sentence}"]
    assert (given != "in") or "in/b.tif -> " in said.out


def test_a_pipe_among_the_images_of_a_study_is_skipped(images):
    make_pipe(images / "a.tif")
    (images / "loop.tif").symlink_to("loop.tif")
    store = open_store((Folder(str(images)),), Path("cache"))
    assert len(store) == 1
    for read in (read_grey, read_recording):
        with pytest.raises(ValueError, match="tif: is not a file but a pipe"):
            read(images / "a.tif")
    with pytest.raises(UnreadableImageError, match=r"loop.tif: cannot be found .*; check its name"):
        read_grey(images / "loop.tif")


@pytest.mark.parametrize("option", ["--model", "--optics"])
def test_a_pipe_in_the_place_of_a_model_is_refused(option, images, tmp_path, capsys):
    make_pipe(Path("pipe.safetensors"))
    Path("model").mkdir()
    make_pipe(Path("model/model.json"))
    named = "pipe.safetensors" if option == "--optics" else "model"
    assert cli.main(["restore", "in/b.tif", "-o", "out", option, named]) == 5
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_name_that_is_no_text_keeps_its_report_and_the_batch_its_json(images, model, capsys):
    os.rename("in/b.tif", f"in/{LATIN_1}")
    tifffile.imwrite("in/a.tif", data.camera()[200:264, 150:214])
    options = ["-o", "out", "--model", model, "--no-pictures"]
    assert cli.main(["restore", "in", *options]) == 0
    assert "in/gr\\xf6\\xdfe.tif -> gr\\xf6\\xdfe_restored.tif" in capsys.readouterr().out
    assert cli.main(["restore", "in", *options, "--json"]) == 0
    text = capsys.readouterr().out
    text.encode()
    said = json.loads(text)["images"]
    assert [entry["status"] for entry in said] == ["kept", "kept"]
    assert said[1]["input"] == f"in/{LATIN_1}"
    report = (Path("out") / LATIN_1.replace(".tif", "_report.json")).read_bytes()
    assert json.loads(report.decode())["files"]["image"] == LATIN_1.replace(".tif", "_restored.tif")
    assert rb'"in/gr\udcf6\udcdfe.tif"' in report
    for command, output in (("identify", "optics"), ("simulate", "test")):
        given = "in" if command == "identify" else f"in/{LATIN_1}"
        more = ["--model", model] if command == "identify" else []
        assert cli.main([command, given, "-o", output, "--json", *more]) == 0
        json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("pictures", [[], ["--no-pictures"]])
def test_no_name_reaches_a_terminal_as_it_is(pictures, images, model, capsys):
    os.rename("in/b.tif", f"in/{EVIL}")
    (images / "y\x1b[31mred.tif").write_bytes(b"no image")
    (images / "z\x1b[31mred.oib").write_bytes(b"no image")
    for command in ("restore", "identify"):
        assert cli.main([command, "in", "-o", command, "--model", model, *pictures]) == 4
        said = capsys.readouterr()
        assert not LOUD.search(said.out + said.err)
        assert "owned" in said.out
        assert not [line for line in said.out.splitlines() if line.startswith("b.tif")]
        assert "y\\x1b[31mred.tif" in said.err
        assert "z\\x1b[31mred.oib" in said.err
    assert cli.main(["simulate", f"in/{EVIL}", "-o", "test"]) == 0
    assert cli.main(["restore", "nothing\x1b[2J", "-o", "out"]) == 4
    assert cli.main(["restore", "in/b.tif", "-o", "out", "--scale", "\x1b[2J"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["restore", "in/b.tif", "-o", "out", "--\x1b[2J"])
    said = capsys.readouterr()
    assert not LOUD.search(said.out + said.err)


def test_words_of_ours_stay_as_they_are():
    plain = "Größe ±0.1 → 細胞 é́"
    assert printable(plain) == plain
    assert json.loads(json_text({plain: "a\nb\x1b"})) == {plain: "a\nb\x1b"}
    assert "\\u202e" in json_text("\u202e")


def test_logs_and_pages_show_what_a_name_hides(capsys):
    note(f"first\n{EVIL}")
    assert capsys.readouterr().out.startswith("first\nx\\x1b[2J")
    assert "\x1b" not in filled("document", EVIL, EVIL, {EVIL: EVIL}, [])
    filled("document", LATIN_1, "", {}, []).encode()


@pytest.fixture
def denied(images):
    """A folder and a file of somebody else's, which root may not read either."""
    folder, file = Path("shut"), images / "shut.tif"
    folder.mkdir()
    for path in (folder / "b.tif", file):
        path.write_bytes(b"x")
        path.chmod(0)
    folder.chmod(0)
    header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    assert libc.capget(header, rights) == 0
    fewer = (ctypes.c_uint32 * 6)(*rights)
    fewer[0] &= ~0b110  # to read and write everything; what is permitted stays, so that it can come back
    assert libc.capset(header, fewer) == 0
    yield
    assert libc.capset(header, rights) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="drops a right that only Linux knows")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["restore", "shut", "-o", "out"], 4),
        (["restore", "shut/b.tif", "in/b.tif", "-o", "out"], 4),
        (["restore", "shut", "in/b.tif", "-o", "out"], 4),
        (["restore", "in/shut.tif", "-o", "out"], 4),
        (["restore", "in/b.tif", "-o", "shut"], 6),
        (["restore", "in/b.tif", "-o", "shut/x"], 6),
        (["restore", "in/b.tif", "-o", "out", "--model", "shut/b.tif"], 5),
        (["restore", "in/b.tif", "-o", "out", "--optics", "shut/b.tif"], 5),
        (["identify", "shut", "-o", "out"], 4),
        (["identify", "in/b.tif", "-o", "shut/x"], 6),
        (["simulate", "shut/b.tif", "-o", "out"], 4),
        (["simulate", "in/b.tif", "-o", "shut"], 6),
        (["calibrate", "shut", "-o", "out/x.safetensors"], 4),
        (["calibrate", "in/b.tif", "-o", "shut/x.safetensors"], 6),
    ],
)
def test_what_may_not_be_read_or_written_is_one_sentence(command, code, denied, model, capsys):
    options = ["--model", model] if command[0] in ("restore", "identify") and "--optics" not in command else []
    options = [] if "--model" in command else options
    assert cli.main([*command, *options, *(["--no-pictures"] if command[0] == "restore" else [])]) == code
    said = capsys.readouterr()
    errors = said.err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert "shut" in errors[0]
    assert ("in/b.tif ->" in said.out) == (command[0] == "restore" and "in/b.tif" in command and code == 4)
