"""What a stage's processes write down as they go, so that their cost is known even where they are killed.

It is a file per stage and rank beside the live curve, with a line per sign of life. What a process did after the
checkpoint from which its successor went on is work that had to be repeated.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepblur.platform.system.whole_files import replace_file

BEAT_S = 1.0
"""Seconds between two signs of life; of a long run, a hundredth of its duration."""


class Heartbeat:
    """The heartbeat of one process that carries a stage out."""

    def __init__(self, live: Path, key: str, attempt: int, rank: int = 0) -> None:
        self._path = live / f"{key}.{rank}.cost"
        self._attempt, self._rank = attempt, rank
        self._began = self._wrote = 0.0
        self._cpu_s = cpu_seconds()

    def alive(self, step: int) -> bool:
        """Called before every step; writes now and then and says whether it did. The first call begins the work."""
        now = time.time()
        if now - self._wrote < max(BEAT_S, (now - self._began) / 100):
            return False
        if not self._began:
            self._began = now
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write(now, step, saved=False)
        return True

    def saved(self, step: int) -> None:
        """From this step on a successor can go on."""
        self._write(time.time(), step, saved=True)

    def _write(self, now: float, step: int, saved: bool) -> None:
        self._wrote = now
        line = {"attempt": self._attempt, "rank": self._rank, "host": socket.gethostname(), "pid": os.getpid()}
        line |= {"began": self._began, "time": now, "step": step, "saved": saved}
        line["cpu_s"] = cpu_seconds() - self._cpu_s
        with open(self._path, "a", opener=_unlinked) as file:
            file.write(json.dumps(line) + "\n")


def _unlinked(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)  # a line of ours belongs into no other file


class Meter:
    """Wall clock and processor time of this process from here on."""

    def __init__(self) -> None:
        self.started = time.time()
        self._cpu_s = cpu_seconds()

    def cost(self) -> dict[str, Any]:
        return {"host": socket.gethostname(), "pid": os.getpid(), "seconds": time.time() - self.started,
                "cpu_s": cpu_seconds() - self._cpu_s}  # fmt: skip


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


@dataclass
class Segment:
    """The uninterrupted work of one process at a stage."""

    attempt: int
    rank: int
    process: tuple[str, int]
    began: float
    first_step: int
    last: float = 0.0
    last_step: int = 0
    cpu_s: float = 0.0
    saves: list[tuple[int, float]] = field(default_factory=list)
    """(step, time) of its checkpoints."""


@dataclass(frozen=True)
class Spent:
    """What an attempt's work came to, in seconds of wall clock."""

    kept_s: float = 0.0
    lost_s: float = 0.0
    lost_steps: int = 0
    cpu_s: float = 0.0
    processes: frozenset[tuple[str, int]] = frozenset()


def read_heartbeats(live: Path, key: str) -> list[Segment]:
    """The segments of a stage in the order in which they began. A line that a kill cut short is left out."""
    found: dict[tuple[int, str, int, float], Segment] = {}
    for path in sorted(live.glob(f"{key}.*.cost")):
        for text in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                line = json.loads(text)
                process = (line["host"], line["pid"])
                segment = found.setdefault(
                    (line["rank"], *process, line["began"]),
                    Segment(line["attempt"], line["rank"], process, line["began"], line["step"]),
                )
                segment.last, segment.last_step, segment.cpu_s = line["time"], line["step"], line["cpu_s"]
                if line["saved"]:
                    segment.saves.append((line["step"], line["time"]))
    return sorted(found.values(), key=lambda segment: segment.began)


def remove_heartbeats(live: Path, key: str) -> None:
    for path in live.glob(f"{key}.*.cost"):
        path.unlink(missing_ok=True)


def spent(segments: Sequence[Segment], attempt: int, *, end: float, done: bool, resumable: bool = True) -> Spent:
    """What one attempt kept and lost.

    Args:
        segments: of all attempts at the stage; later ones show from which checkpoint the work went on.
        end: when the attempt ended; its last process may have worked until then.
        done: it ended with the stage done, so that nothing of its last process is lost.
        resumable: a later attempt is expected to go on from its last checkpoint.
    """
    first = [segment for segment in segments if segment.rank == 0]
    mine = [segment for segment in first if segment.attempt == attempt]
    kept = lost = 0.0
    lost_steps = 0
    for segment in mine:
        later = [other.first_step for other in first if other.began > segment.began]
        last = segment is mine[-1]
        if last and done:
            kept += segment.last - segment.began
            continue
        stop = end if last and segment.last == segment.began else segment.last  # one line only: no beats to go by
        reached = min(later) if later else segment.last_step if resumable else segment.first_step
        step, time_s = max(
            [(step, when) for step, when in segment.saves if step <= reached],
            default=(min(segment.first_step, reached), segment.began),
        )
        kept += time_s - segment.began
        lost += max(0.0, stop - time_s)
        lost_steps += max(0, segment.last_step - step)
    all_ranks = [segment for segment in segments if segment.attempt == attempt]
    used = sum(segment.cpu_s for segment in all_ranks)
    return Spent(kept, lost, lost_steps, used, frozenset(segment.process for segment in all_ranks))


def write_live(path: Path, history: list[dict[str, float]]) -> None:
    """Show the curve so far; a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, "".join(json.dumps(row) + "\n" for row in history).encode())


def read_rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
