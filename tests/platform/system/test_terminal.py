"""What is printed never ends the work: terminals of few signs, readers that leave, logs on a full disk."""

import io
import os
import subprocess
import sys

import pytest
from micro_study import STUDY
from places import ROOT

from deepblur import cli
from deepblur.platform.experiment.main import main
from deepblur.platform.system import terminal

HELP = "import sys; from deepblur import cli; sys.exit(cli.main(sys.argv[1:]))"


def printing(program, **streams):
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=300, **streams)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_help_is_printed_whatever_the_terminal_takes(encoding, monkeypatch):
    for command in cli.COMMANDS:
        if command == "study":
            continue
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert end.value.code == 0
        sys.stdout.flush()
        assert len(sys.stdout.buffer.getvalue()) > 50


def test_what_a_terminal_lacks_is_spelled(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    terminal.guard()
    print("−1.5 dB, η 0.1 … γ̂ ☃ \udcff")
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue() == b"-1.5 dB, eta 0.1 ... gamma^ \\u2603 \\udcff\n"


def test_a_study_is_complete_where_the_terminal_takes_ascii_only(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    command = ["--local", "--data", "photos", "--tracking-uri", "none", "--runs", str(tmp_path), "--images", "1"]
    assert main(STUDY, [*command, "--draws", "1", "--eta", "0.1", "--arms", "true"]) == 0
    sys.stdout.flush()
    assert b"PSNR" in sys.stdout.buffer.getvalue()


def test_a_reader_that_left_and_a_full_disk_are_borne():
    program = (
        "import sys; from deepblur.platform.system import terminal; terminal.guard()\n"
        "for _ in range(9): print('x' * 9000, flush=True)\n"
        "sys.stderr.write(str(terminal.lost()))"
    )
    read, write = os.pipe()
    os.close(read)
    done = printing(program, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"[Errno 32] Broken pipe")
    with open("/dev/full", "wb") as full:
        done = printing(program, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"[Errno 28] No space left on device")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", HELP, "studies"], cwd=ROOT, check=False, stdout=full,
                              stderr=subprocess.PIPE)  # fmt: skip
    assert done.returncode == 6
    assert b"standard output cannot be written (No space left on device); send it elsewhere" in done.stderr


def test_output_that_was_closed_before_is_none_of_ours(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    terminal.guard()
    print("nothing")
    assert terminal.lost() is None
