"""The truth about a runs folder: which stage is done, by which attempt, at which cost, with which result.

One sqlite file with one writer, the driver of a study, which holds a lock on the folder while it works. A stage is
recorded as done only after its folder is complete; MLflow is the record for people and can be lost without harm. The
lock is flock's: it ends with the process, and on NFS it holds between nodes unless the folder is mounted with nolock or
local_lock.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from deepblur.platform.stages.finished import FinishedStages
from deepblur.platform.stages.heartbeat import read_heartbeats, remove_heartbeats, spent
from deepblur.platform.stages.ledger_schema import open_or_replace, transaction
from deepblur.platform.system.lock import HeldError, hold

Outcome = Literal["done", "failed", "interrupted", "pruned", "adopted"]
DONE = ("done", "adopted")
BEAT_S = 2.0


class Ledger:
    """The ledger of one runs folder; a context manager that holds the folder's lock.

    Args:
        study: name of the study that this command works on.
        started: when the command began, in seconds since the epoch; None: now.
        workers, cpus, gpus: processes of a training, and cores and GPUs of each process.
        say: gets the sentence on what was damaged, and what happens about it.
    Raises:
        RuntimeError: another driver is writing to this folder.
    """

    def __init__(
        self,
        runs: Path,
        study: str = "",
        *,
        started: float | None = None,
        workers: int = 1,
        cpus: int = 1,
        gpus: float = 0.0,
        say: Callable[[str], None] = print,
    ) -> None:
        self.runs = runs
        self.stages = runs / "stages"
        self._live = runs / "live"
        self._finished = FinishedStages(runs, say)
        self._process = (workers, cpus, gpus)
        self._slots: tuple[float, float] | None = None
        self.stages.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = hold(runs / "ledger.lock")
        except HeldError as error:
            raise RuntimeError(
                f"another study (process {error}) is writing to {runs}; wait until it ends or choose another folder "
                "with --runs"
            ) from None
        self.db = open_or_replace(runs / "ledger.db", say)
        self._close_abandoned()
        self._take_up_finished()
        self._finished.remove_leftovers(self._done())
        now = time.time()
        self._began = self._counted = self._seen = now if started is None else started
        self.session = self.db.execute(
            "insert into session (study, host, pid, started, seen) values (?, ?, ?, ?, ?)",
            (study, socket.gethostname(), os.getpid(), self._counted, now),
        ).lastrowid

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever is still under way was interrupted."""
        now = time.time()
        for (key,) in self.db.execute("select key from attempt where outcome is null").fetchall():
            self._interrupt(key, now)
        self._count(now)
        self.db.execute("update session set finished = ? where id = ?", (now, self.session))
        self.db.close()
        self._lock.close()

    def folder(self, key: str) -> Path:
        """Where a finished stage's artifacts lie."""
        return self._finished.folder(key)

    def done(self, key: str) -> dict[str, Any] | None:
        """The result of a stage that is done and whose folder is whole, else None: then it has to be made.

        A folder that is not whole is set aside, for it would keep a new one from its place.
        """
        if (record := self._finished.record(key)) is None:
            self._finished.set_aside(key)
        row = self.db.execute("select 1 from stage where key = ? and state = 'done'", (key,)).fetchone()
        return {n: v for n, v in record["result"].items() if n != "cost"} if record is not None and row else None

    def error(self, key: str) -> str | None:
        """Why the last attempt at a stage failed; None where it did not."""
        row = self.db.execute("select error from stage where key = ? and state = 'failed'", (key,)).fetchone()
        return row[0] if row else None

    def attempts(self, key: str) -> int:
        """How many attempts there were at a stage."""
        row = self.db.execute("select attempt from stage where key = ?", (key,)).fetchone()
        return row[0] if row else 0

    def seconds(self, key: str) -> float:
        """How long all attempts at a stage took that have ended."""
        query = "select coalesce(sum(finished - started), 0) from attempt where key = ?"
        return float(self.db.execute(query, (key,)).fetchone()[0])

    def start(self, key: str, kind: str, label: str, processes: int | None = None) -> int:
        """Record a new attempt at a stage; its number.

        Args:
            processes: which it takes; None: one for each of the study's workers.
        """
        now, attempt = time.time(), self.attempts(key) + 1
        workers, cpus, gpus = self._process
        processes = workers if processes is None else processes
        with transaction(self.db):
            self.db.execute(
                "insert or replace into stage (key, kind, label, state, attempt, started) "
                "values (?, ?, ?, 'running', ?, ?)",
                (key, kind, label, attempt, now),
            )
            self.db.execute(
                "insert or replace into attempt (key, attempt, session, kind, label, host, started, cpus, gpus) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (key, attempt, self.session, kind, label, socket.gethostname(), now, processes * cpus,
                 processes * gpus),
            )  # fmt: skip
        return attempt

    def finish(self, key: str, result: Mapping[str, Any]) -> None:
        """Record a stage as done. Its folder must be complete by now. `cost` in the result goes to the attempt."""
        if not self.folder(key).is_dir():
            raise FileNotFoundError(f"stage {key} cannot be done: its folder {self.folder(key)} does not exist")
        self._finish(key, result, "done", time.time())

    def fail(self, key: str, error: str) -> None:
        """Record that the attempt at a stage under way ended in an error of its own."""
        self._end(key, "failed", time.time(), error)

    def prune(self, key: str, reason: str) -> None:
        """Record that the attempt at a stage under way was given up because it promised little."""
        self._end(key, "pruned", time.time(), reason)

    def beat(self, cpus: float, gpus: float) -> None:
        """Called about once a second: the driver is alive, and has this many cores and GPUs to fill."""
        now = time.time()
        self._slots = (cpus, gpus)
        if now - self._seen >= BEAT_S:
            self._count(now)

    def seconds_of_session(self) -> float:
        return time.time() - self._began

    def capacity(self) -> tuple[float, float, float]:
        """Of this command so far: seconds, and the core- and GPU-seconds that there were to fill."""
        self._count(time.time())
        cpu_s, gpu_s = self.db.execute("select cpu_s, gpu_s from session where id = ?", (self.session,)).fetchone()
        return self._counted - self._began, cpu_s, gpu_s

    def gpu_seconds(self) -> float:
        """GPU-seconds that this command has reserved so far."""
        query = "select coalesce(sum(gpus * (coalesce(finished, ?) - started)), 0) from attempt where session = ?"
        return float(self.db.execute(query, (time.time(), self.session)).fetchone()[0])

    def _count(self, now: float) -> None:
        """Add the time since the last count to the session; before the first beat, what a training takes is all."""
        workers, cpus, gpus = self._process
        slots = self._slots or (workers * cpus, workers * gpus)
        seconds = now - self._counted
        self.db.execute(
            "update session set seen = ?, cpu_s = cpu_s + ?, gpu_s = gpu_s + ? where id = ?",
            (now, slots[0] * seconds, slots[1] * seconds, self.session),
        )
        self._counted = self._seen = now

    def _finish(self, key: str, result: Mapping[str, Any], outcome: Outcome, end: float) -> None:
        cost = result.get("cost", {})
        rest = {name: value for name, value in result.items() if name != "cost"}
        with transaction(self.db):
            self.db.execute(
                "update stage set state = 'done', finished = ?, result = ?, error = null where key = ?",
                (end, json.dumps(rest), key),
            )
            self._close(key, outcome, end, cost)
        remove_heartbeats(self._live, key)

    def _end(self, key: str, outcome: Outcome, end: float, error: str | None = None) -> None:
        with transaction(self.db):
            self.db.execute(
                "update stage set state = ?, finished = ?, error = ? where key = ?", (outcome, end, error, key)
            )
            self._close(key, outcome, end, {}, error)

    def _close(self, key: str, outcome: Outcome, end: float, cost: Mapping[str, Any], error: str | None = None) -> None:
        """Close the last attempt at a stage, and judge those before it anew: now it shows what of them was of use."""
        last = self.attempts(key)
        self.db.execute(
            "update attempt set outcome = ?, finished = max(started, ?), error = ?, host = coalesce(?, host) "
            "where key = ? and attempt = ?",
            (outcome, end, error, cost.get("host"), key, last),
        )
        segments = read_heartbeats(self._live, key)
        for attempt, how, ended in self.db.execute(
            "select attempt, outcome, finished from attempt where key = ?", (key,)
        ).fetchall():
            found = spent(segments, attempt, end=ended, done=how in DONE, resumable=how == "interrupted")
            useful, used = found.kept_s, found.cpu_s
            if attempt == last and cost:
                used = cost["cpu_s"] + (0.0 if (cost["host"], cost["pid"]) in found.processes else used)
                useful = useful or cost["seconds"]
            if segments or attempt == last:
                self.db.execute(
                    "update attempt set useful_s = ?, lost_s = ?, lost_steps = ?, cpu_used_s = ? "
                    "where key = ? and attempt = ?",
                    (useful, found.lost_s, found.lost_steps, used, key, attempt),
                )

    def _interrupt(self, key: str, end: float) -> None:
        """Close an attempt that nobody works at any more; its folder may be complete all the same."""
        if record := self._finished.record(key):
            self._finish(key, record["result"], "adopted", record["finished"])
        else:
            self._end(key, "interrupted", end)

    def _close_abandoned(self) -> None:
        """Close what drivers that died left open: the lock says that none of them is alive."""
        self.db.execute("update session set finished = seen where finished is null")
        open_attempts = "select key, seen from attempt left join session on session.id = session where outcome is null"
        for key, seen in self.db.execute(open_attempts).fetchall():
            files = [*self._live.glob(f"{key}.*"), self.runs / "train" / key / "state.pt"]
            self._interrupt(key, min(time.time(), max([seen or 0.0, *map(_changed, files)])))

    def _done(self) -> set[str]:
        return {key for (key,) in self.db.execute("select key from stage where state = 'done'")}

    def _take_up_finished(self) -> None:
        """Complete folders of which the ledger knows nothing, or less."""
        known = self._done()
        for folder in self.stages.glob("[!.]*"):
            if folder.name in known or (record := self._finished.record(folder.name)) is None:
                continue
            end, seconds = record["finished"], record["result"]["seconds"]
            names = (folder.name, record["kind"], record["label"])
            with transaction(self.db):
                self.db.execute(
                    "insert or ignore into stage (key, kind, label, state, attempt, started) "
                    "values (?, ?, ?, 'running', 1, ?)",
                    (*names, end - seconds),
                )
                self.db.execute(
                    "insert or ignore into attempt (key, kind, label, attempt, started, cpus, gpus) "
                    "values (?, ?, ?, ?, ?, 1, 0)",
                    (*names, self.attempts(folder.name), end - seconds),
                )
            self._finish(folder.name, record["result"], "adopted", end)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
