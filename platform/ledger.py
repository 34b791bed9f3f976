"""The truth about a runs folder: which stage is done, by which attempt, with which result.

One sqlite file with one writer, the driver of a study, which holds a lock on the folder while it works. A stage is
recorded as done only after its folder is complete; MLflow is the record for people and can be lost without harm.
"""

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

_SCHEMA = """
create table if not exists stage (
    key text primary key, kind text not null, label text not null,
    state text not null check (state in ('running', 'done', 'failed')),
    attempt integer not null, started real not null, finished real, result text, error text
);
"""


class Ledger:
    """The ledger of one runs folder; a context manager that holds the folder's lock."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.stages = runs / "stages"
        self.stages.mkdir(parents=True, exist_ok=True)
        self._lock = _acquire(runs / "ledger.lock")
        self._db = sqlite3.connect(runs / "ledger.db", isolation_level=None)
        self._db.executescript(_SCHEMA)
        for leftover in self.stages.glob(".*"):  # what an attempt that was killed had begun to write
            shutil.rmtree(leftover, ignore_errors=True)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what a driver or worker that was killed had no time to: curves and checkpoints of done stages."""
        for partial in (self.runs / "live").glob(".*.partial"):
            partial.unlink(missing_ok=True)
        for curve in (self.runs / "live").glob("*.jsonl"):
            if self.done(curve.stem) is not None:
                curve.unlink(missing_ok=True)
        for scratch in (self.runs / "train").glob("*"):
            if self.done(scratch.name) is not None:
                shutil.rmtree(scratch, ignore_errors=True)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._lock.close()

    def folder(self, key: str) -> Path:
        """Where a finished stage's artifacts lie."""
        return self.stages / key

    def done(self, key: str) -> dict[str, Any] | None:
        """The result of a stage that is done and whose folder is there, else None."""
        row = self._db.execute("select result from stage where key = ? and state = 'done'", (key,)).fetchone()
        return json.loads(row[0]) if row and self.folder(key).is_dir() else None

    def error(self, key: str) -> str | None:
        """Why the last attempt at a stage failed; None where it did not."""
        row = self._db.execute("select error from stage where key = ? and state = 'failed'", (key,)).fetchone()
        return row[0] if row else None

    def start(self, key: str, kind: str, label: str) -> int:
        """Record a new attempt at a stage; its number."""
        row = self._db.execute("select attempt from stage where key = ?", (key,)).fetchone()
        attempt = row[0] + 1 if row else 1
        self._db.execute(
            "insert or replace into stage (key, kind, label, state, attempt, started) "
            "values (?, ?, ?, 'running', ?, ?)",
            (key, kind, label, attempt, time.time()),
        )
        return attempt

    def finish(self, key: str, result: Mapping[str, Any]) -> None:
        """Record a stage as done. Its folder must be complete by now."""
        if not self.folder(key).is_dir():
            raise FileNotFoundError(f"stage {key} cannot be done: its folder {self.folder(key)} does not exist")
        self._db.execute(
            "update stage set state = 'done', finished = ?, result = ?, error = null where key = ?",
            (time.time(), json.dumps(dict(result)), key),
        )

    def fail(self, key: str, error: str) -> None:
        self._db.execute(
            "update stage set state = 'failed', finished = ?, error = ? where key = ?", (time.time(), error, key)
        )


def complete(temporary: Path, final: Path) -> None:
    """Move a finished folder to its place in one step; a folder that is there already, from a killed driver, wins."""
    try:
        temporary.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(temporary)


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file as a whole: a reader sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    return partial.replace(path)


def _acquire(path: Path) -> TextIO:
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise RuntimeError(
            f"another study (process {owner}) is writing to {path.parent}; wait until it ends or choose another folder "
            "with --runs"
        ) from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle
