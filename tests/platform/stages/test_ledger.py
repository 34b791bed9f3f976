"""The ledger tells what is done, whoever is killed when."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest
from stage_folders import folder_of, sealed

from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.system.whole_files import complete


def test_a_stage_is_done_only_when_its_folder_is_complete(tmp_path):
    with Ledger(tmp_path) as ledger:
        assert ledger.done("a") is None
        assert ledger.start("a", "identify", "IN") == 1
        assert ledger.done("a") is None
        with pytest.raises(FileNotFoundError, match="stage a cannot be done"):
            ledger.finish("a", {"loss": 1.0})
        folder_of(ledger, "a", loss=1.0)
        ledger.finish("a", {"loss": 1.0})
        assert ledger.done("a") == {"loss": 1.0}
    with Ledger(tmp_path) as again:
        assert again.done("a") == {"loss": 1.0}


def test_a_stage_whose_folder_was_deleted_is_not_done(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.start("a", "identify", "IN")
        folder_of(ledger, "a")
        ledger.finish("a", {})
        shutil.rmtree(ledger.folder("a"))
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
    code = (
        f"from pathlib import Path; from deepblur.platform.stages.ledger import Ledger; Ledger(Path({str(tmp_path)!r}))"
    )
    with Ledger(tmp_path):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"is writing to {tmp_path}; wait until it ends or choose another folder" in second.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_complete_folder_of_which_the_ledger_was_not_told_is_adopted(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.start("a", "identify", "IN")
    ledger.start("b", "identify", "IN of an older version")
    folder_of(ledger, "b")
    told(ledger, "a", {"seconds": 3.0, "loss": 1.0, "cost": COST})
    kill(ledger)
    with Ledger(tmp_path) as again:
        assert again.done("a") == {"seconds": 3.0, "loss": 1.0}
        assert again.done("b") is None
        assert outcomes(again) == {"a": "adopted", "b": "interrupted"}
    (tmp_path / "ledger.db").unlink()
    with Ledger(tmp_path) as anew:
        assert anew.done("a") == {"seconds": 3.0, "loss": 1.0}
        assert anew.attempts("a") == 1


def test_an_attempt_of_a_dead_driver_ends_at_its_last_sign_of_life(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.start("a", "identify", "IN")
    kill(ledger)
    live = tmp_path / "live"
    live.mkdir()
    (live / "a.0.cost").touch()
    seen = time.time() + 0.2
    time.sleep(0.4)
    os.utime(live / "a.0.cost", (seen, seen))
    with Ledger(tmp_path) as again:
        (end,) = again.db.execute("select finished from attempt").fetchone()
        assert end == pytest.approx(seen)
        assert again.start("a", "identify", "IN") == 2


def test_a_ledger_of_an_older_version_is_brought_up_to_date(tmp_path):
    with sqlite3.connect(tmp_path / "ledger.db") as old:
        old.execute(
            "create table stage (key text primary key, kind text not null, label text not null, state text not null "
            "check (state in ('running', 'done', 'failed')), attempt integer not null, started real not null, "
            "finished real, result text, error text)"
        )
        for key, state, finished in (("a", "done", 5.0), ("b", "running", None), ("c", "failed", 6.0)):
            old.execute("insert into stage values (?, 'identify', ?, ?, 2, 1.0, ?, '{\"loss\": 1.0}', null)",
                        (key, key, state, finished))  # fmt: skip
    old.close()
    (tmp_path / "stages" / "a").mkdir(parents=True)
    sealed(tmp_path / "stages" / "a", "a", {"loss": 1.0})
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            assert ledger.done("a") == {"loss": 1.0}
            assert outcomes(ledger) == {"a": "done", "b": "interrupted", "c": "failed"}
            assert ledger.seconds("a") == 4.0
    with Ledger(tmp_path) as ledger:
        ledger.start("b", "identify", "b")
        ledger.prune("b", "worse than its peers")
        ledger.db.execute("pragma user_version = 99")
    with pytest.raises(RuntimeError, match="of version 99, this deepblur knows 1; install a newer one"):
        Ledger(tmp_path)


def test_what_a_kill_destroyed_is_what_its_successor_did_again(tmp_path):
    """Attempt 1: steps 0 to 8 with checkpoints at 3 and 6, killed; attempt 2 went on from 3 and came to the end."""
    heartbeat(tmp_path, 1, 100.0, [(1, 0, False), (2, 3, True), (4, 6, True), (5, 8, False)])
    with Ledger(tmp_path) as ledger:
        ledger.start("a", "identify", "IN")
        ledger._end("a", "interrupted", 106.0)
        assert lost(ledger) == [(4.0, 1.0, 2)]  # as long as nobody shows otherwise, the last checkpoint counts
        ledger.start("a", "identify", "IN")
        heartbeat(tmp_path, 2, 200.0, [(0, 3, False), (9, 12, True)], pid=2)
        folder_of(ledger, "a")
        ledger.finish("a", {"loss": 1.0, "cost": COST})
        assert lost(ledger) == [(2.0, 3.0, 5), (9.0, 0.0, 0)]
        assert not list((tmp_path / "live").iterdir())


def test_what_no_one_goes_on_from_is_lost_as_a_whole(tmp_path):
    heartbeat(tmp_path, 1, 100.0, [(1, 0, False), (2, 3, True), (5, 8, False)])
    with Ledger(tmp_path) as ledger:
        ledger.start("a", "identify", "IN")
        ledger.fail("a", "FloatingPointError: the loss is nan")
        assert lost(ledger) == [(0.0, 5.0, 8)]


COST = {"host": "here", "pid": 1, "seconds": 3.0, "cpu_s": 2.0}


def heartbeat(runs, attempt, began, lines, pid=1):
    """(seconds after it began, step, saved) of each line; the first line is the beginning."""
    (runs / "live").mkdir(exist_ok=True)
    with (runs / "live" / "a.0.cost").open("a") as file:
        for seconds, step, saved in [(0, lines[0][1], False), *lines]:
            line = {"attempt": attempt, "rank": 0, "host": "here", "pid": pid, "began": began, "time": began + seconds}
            file.write(json.dumps({**line, "step": step, "saved": saved, "cpu_s": 1.0}) + "\n")


def lost(ledger):
    return ledger.db.execute("select useful_s, lost_s, lost_steps from attempt order by attempt").fetchall()


def outcomes(ledger):
    return dict(ledger.db.execute("select key, outcome from attempt order by key"))


def told(ledger, key, result):
    temporary = ledger.stages / f".{key}-1"
    temporary.mkdir()
    sealed(temporary, key, result)
    complete(temporary, ledger.folder(key))


def kill(ledger):
    """What the death of a driver does: nothing is closed in good order."""
    ledger.db.close()
    ledger._lock.close()
