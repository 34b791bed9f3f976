"""What is damaged in a folder of runs, ledger or stage, is said, set aside and made again; what is not ours stays."""

import os
import random
import shutil
import sqlite3

import pytest
from stage_folders import folder_of, sealed

from deepblur.platform.stages.finished import RESULT
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.ledger_schema import open_database


def finished(runs):
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
