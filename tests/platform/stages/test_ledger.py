"""The ledger tells what is done, whoever is killed when."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from deepblur.platform.stages.finished import RESULT
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.ledger_schema import open_database
from deepblur.platform.system.seal import hashes_of, write_sealed
from deepblur.platform.system.whole_files import complete


def folder_of(ledger, key, text="done", **result):
    """A complete folder of a stage; without a result it is one of a version that said nothing of itself."""
    temporary = ledger.stages / f".{key}-1"
    temporary.mkdir()
    (temporary / "weights").write_text(text)
    if result:
        sealed(temporary, key, result)
    complete(temporary, ledger.folder(key))


def sealed(folder, key, result):
    facts = {"key": key, "kind": "identify", "label": key, "attempt": 1, "finished": time.time(), "result": result}
    write_sealed(folder / RESULT, {**facts, "files": hashes_of(folder)})


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


def finished(runs, say=print):
    """A ledger with one finished stage."""
    with Ledger(runs) as ledger:
        ledger.start("a", "identify", "IN")
        folder_of(ledger, "a", seconds=2.0, loss=1.0)
        ledger.finish("a", {"seconds": 2.0, "loss": 1.0})


def flipped(file, bits, seed=0):
    content, rng = bytearray(file.read_bytes()), random.Random(seed)
    for _ in range(bits):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def foreign(file):
    file.unlink()
    with sqlite3.connect(file) as other:
        other.execute("create table stage (x)")
    other.close()


def changed(file, statement):
    with sqlite3.connect(file) as database:
        database.execute("pragma ignore_check_constraints = on")
        database.execute(statement)
    database.close()


LEDGERS = {
    "cut": lambda f: os.truncate(f, f.stat().st_size // 2),
    "cut to a few bytes": lambda f: os.truncate(f, 10),
    "cut within a page": lambda f: os.truncate(f, f.stat().st_size - 100),
    "empty": lambda f: os.truncate(f, 0),
    "gone": lambda f: f.unlink(),
    "text": lambda f: f.write_text("hello " * 1000),
    "zeros": lambda f: f.write_bytes(bytes(f.stat().st_size)),
    "another program's": foreign,
    "a folder": lambda f: (f.unlink(), f.mkdir()),
    "a pipe": lambda f: (f.unlink(), os.mkfifo(f)),
    "result null": lambda f: changed(f, "update stage set result = 'null'"),
    "result of another stage": lambda f: changed(f, "update stage set result = '{\"loss\": 7}'"),
    "no UTF-8": lambda f: changed(f, "update attempt set label = cast(x'ff' as text)"),
    "a number as text": lambda f: changed(f, "update attempt set started = 'then'"),
    "a time that is none": lambda f: changed(f, "update attempt set started = 1e300"),
    "a state that is none": lambda f: changed(f, "update stage set state = 'dona'"),
    "a version that is none": lambda f: changed(f, "pragma user_version = 1073741825"),
    "a column more": lambda f: changed(f, "alter table stage add column more text"),
    **{f"20 bits, {seed}": lambda f, seed=seed: flipped(f, 20, seed) for seed in range(8)},
    "2000 bits": lambda f: flipped(f, 2000),
}


@pytest.mark.parametrize("damage", LEDGERS)
def test_a_damaged_ledger_is_set_aside_and_made_anew_from_the_folders(damage, tmp_path):
    finished(tmp_path)
    LEDGERS[damage](tmp_path / "ledger.db")
    said = []
    with Ledger(tmp_path, say=said.append) as again:
        assert again.done("a") == {"seconds": 2.0, "loss": 1.0}
        again.start("b", "deblur", "DN")
        assert again.seconds("a") >= 0
    aside = list(tmp_path.glob("ledger.db.damaged-*"))
    assert len(aside) == len(said) <= 1
    for sentence in said:
        assert str(tmp_path / "ledger.db") in sentence
        assert f"it is now {aside[0].name}, and a new one is made" in sentence
    with Ledger(tmp_path, say=said.append) as third:
        assert third.done("a") == {"seconds": 2.0, "loss": 1.0}
    assert len(said) == len(aside)


def test_a_ledger_is_set_aside_with_what_belongs_to_it_and_never_over_another(tmp_path):
    finished(tmp_path)
    for name in ("ledger.db", "ledger.db.damaged-1"):
        (tmp_path / name).write_text("no")
    (tmp_path / "ledger.db-shm").mkdir()
    with Ledger(tmp_path, say=lambda text: None) as ledger:
        assert ledger.done("a")
    kept = {"ledger.db.damaged-1", "ledger.db.damaged-2", "ledger.db-shm.damaged-1"}
    assert {file.name for file in tmp_path.glob("*damaged*")} == kept


def test_a_ledger_that_is_in_use_or_cannot_be_written_is_not_taken_for_damaged(tmp_path):
    finished(tmp_path)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("begin exclusive")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_database(tmp_path / "ledger.db", patience_s=0.1)
    other.close()
    assert not list(tmp_path.glob("*damaged*"))


STAGES = {
    "weights cut": lambda d: os.truncate(d / "weights", 2),
    "weights of the same size": lambda d: (d / "weights").write_text("dune"),
    "weights gone": lambda d: (d / "weights").unlink(),
    "weights a folder": lambda d: ((d / "weights").unlink(), (d / "weights").mkdir()),
    "result cut": lambda d: os.truncate(d / RESULT, 20),
    "result gone": lambda d: (d / RESULT).unlink(),
    "result binary": lambda d: (d / RESULT).write_bytes(b"\0\xff" * 50),
    "result null": lambda d: (d / RESULT).write_text("null"),
    "result {}": lambda d: (d / RESULT).write_text("{}"),
    "another result": lambda d: (d / RESULT).write_text((d / RESULT).read_text().replace("1.0", "1.5")),
    "result, for the folder is a file": lambda d: (shutil.rmtree(d), d.write_text("no")),
    "result, for the folder is a link to nothing": lambda d: (shutil.rmtree(d), d.symlink_to("nowhere")),
    "of another stage": lambda d: sealed(d, "b", {"loss": 3.0, "seconds": 1.0}),
}


@pytest.mark.parametrize("ledger_too", [False, True])
@pytest.mark.parametrize("damage", STAGES)
def test_a_damaged_stage_is_said_set_aside_and_made_again(damage, ledger_too, tmp_path):
    finished(tmp_path)
    STAGES[damage](tmp_path / "stages" / "a")
    if ledger_too:
        (tmp_path / "ledger.db").unlink()
    said = []
    with Ledger(tmp_path, say=said.append) as ledger:
        assert ledger.done("a") is None
        (sentence,) = said
        assert "of the finished stage" in sentence
        assert "is damaged or gone; the stage is made again, and what is left is now a.damaged-1" in sentence
        assert (RESULT if "weights" not in damage else "weights") in sentence
        assert ledger.done("a") is None
        ledger.start("a", "identify", "IN")
        folder_of(ledger, "a", seconds=2.0, loss=1.0)
        ledger.finish("a", {"seconds": 2.0, "loss": 1.0})
        assert ledger.done("a") == {"seconds": 2.0, "loss": 1.0}
    with Ledger(tmp_path, say=said.append) as again:
        assert again.done("a") == {"seconds": 2.0, "loss": 1.0}
        assert len(again.db.execute("select * from stage").fetchall()) == 1
    assert len(said) == 1


def test_what_is_not_ours_in_a_runs_folder_stays_as_it_is(tmp_path):
    finished(tmp_path)
    theirs = [
        "stages/.ipynb_checkpoints/x", "stages/.mine/x", "stages/notes/result.json", "stages/copy of a/weights",
        "live/.ipynb_checkpoints/a.jsonl", "live/.something.partial", "train/notes/state.pt",
        "studies/.ipynb_checkpoints/x", "studies/s/.draft.partial", "stages/a/.ipynb_checkpoints/x",
    ]  # fmt: skip
    for name in theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "live" / "a").mkdir()
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            assert ledger.done("a") == {"seconds": 2.0, "loss": 1.0}
    assert all((tmp_path / name).read_text() == "{}" for name in theirs)


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
