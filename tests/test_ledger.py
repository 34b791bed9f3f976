"""The ledger tells what is done, whoever is killed when."""

import subprocess
import sys

import pytest

from deepblur.platform.ledger import Ledger, complete


def folder_of(ledger, key, text="done"):
    temporary = ledger.stages / f".{key}-1"
    temporary.mkdir()
    (temporary / "weights").write_text(text)
    complete(temporary, ledger.folder(key))


def test_a_stage_is_done_only_when_its_folder_is_complete(tmp_path):
    with Ledger(tmp_path) as ledger:
        assert ledger.done("a") is None
        assert ledger.start("a", "identify", "IN") == 1
        assert ledger.done("a") is None
        with pytest.raises(FileNotFoundError, match="stage a cannot be done"):
            ledger.finish("a", {"loss": 1.0})
        folder_of(ledger, "a")
        ledger.finish("a", {"loss": 1.0})
        assert ledger.done("a") == {"loss": 1.0}
    with Ledger(tmp_path) as again:
        assert again.done("a") == {"loss": 1.0}


def test_a_stage_whose_folder_was_deleted_is_not_done(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.start("a", "identify", "IN")
        folder_of(ledger, "a")
        ledger.finish("a", {})
        (ledger.folder("a") / "weights").unlink()
        ledger.folder("a").rmdir()
        assert ledger.done("a") is None
        assert ledger.start("a", "identify", "IN") == 2


def test_failures_and_attempts_are_counted(tmp_path):
    with Ledger(tmp_path) as ledger:
        assert [ledger.start("a", "deblur", "DN") for _ in range(3)] == [1, 2, 3]
        ledger.fail("a", "ValueError: no")
        assert ledger.done("a") is None


def test_a_folder_from_a_killed_attempt_is_swept_and_a_finished_one_wins(tmp_path):
    with Ledger(tmp_path) as ledger:
        (ledger.stages / ".a-1").mkdir()
    with Ledger(tmp_path) as ledger:
        assert not list(ledger.stages.iterdir())
        folder_of(ledger, "a", "first")
        folder_of(ledger, "a", "second")
        assert (ledger.folder("a") / "weights").read_text() == "first"


def test_two_writers_are_refused_in_one_sentence(tmp_path):
    code = f"from pathlib import Path; from deepblur.platform.ledger import Ledger; Ledger(Path({str(tmp_path)!r}))"
    with Ledger(tmp_path):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"is writing to {tmp_path}; wait until it ends or choose another folder" in second.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
