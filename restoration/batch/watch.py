"""`deepblur restore --watch`: folders into which a microscope writes all day; what comes is restored once whole."""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepblur.platform.system.errors import OK, InputError, UnreadableImageError
from deepblur.platform.system.printable import say
from deepblur.restoration.batch.crew import with_memory
from deepblur.restoration.batch.image_files import Outcome, output_folder, output_folders
from deepblur.restoration.batch.inputs import Given, items_of
from deepblur.restoration.batch.many import SEVERAL, check_workers, threads_each, with_threads
from deepblur.restoration.batch.ownership import Item
from deepblur.restoration.batch.restore import carry_out
from deepblur.restoration.batch.restoring import Restoring
from deepblur.restoration.formats.files import State, state_of
from deepblur.restoration.options import EngineChoice, Options, check_together


def watch_folders(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    told: Callable[[dict[str, Any]], None],
    engine: EngineChoice = EngineChoice(),
    options: Options = Options(),
    recursive: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    pictures: bool = True,
    again: bool = False,
    settle_s: float = 10.0,
) -> int:
    """Restore what lies in folders and what comes into them, until KeyboardInterrupt: `deepblur restore --watch`.

    Begun again, it restores what came meanwhile, and what failed. A file that failed is tried again when it changes, or
    when another part of its set has come.

    Args:
        folders: what is watched; one that vanishes is waited for.
        output: folder for the results, made if it is missing.
        told: called with the report of each image, or with its error, as `Results.images`.
        engine, options, recursive, workers, ray, pictures, again: as of `restore_files`.
        settle_s: a file is complete when its size and time have not changed for so many seconds.
    Returns:
        The exit code: 0, or the worst of those images that have failed to the end.
    Raises:
        ValueError, InputError, ModelError, OutputError: as `restore_files`; a folder is none.
    """
    check_together(engine, options)
    check_workers(workers)
    if not 0 < settle_s < math.inf:
        raise ValueError(f"--settle is a number of seconds above 0; got {settle_s:g}")
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError(f"{folder}: --watch takes folders, and this is none; make it first")
    output, threads = Path(output), threads_each(SEVERAL)
    with output_folder(output), with_threads(threads):
        job, made = Restoring.of(output, engine, options, pictures=pictures, again=again)
        most = 1 if ray else with_memory(workers or 1, options)
        watch = _Watch([Path(folder) for folder in folders], output, recursive, settle_s)

        def seen(outcome: Outcome) -> None:
            watch.learn(outcome)
            told(outcome.entry)

        say(f"watching {', '.join(map(str, folders))}; Ctrl-C ends it", sys.stderr)
        try:
            while True:
                started = time.monotonic()
                if (given := watch.complete(started)).items:
                    with output_folders(output, given):
                        # processes of their own start for several only: that takes longer than an image
                        at_once = workers if ray else min(most, len(given.items))
                        carry_out(job, given, made, threads, at_once, ray, seen)
                # a folder of many thousand files takes a while to look through, and is not looked through all the time
                time.sleep(max(min(1.0, settle_s / 5), 10 * (time.monotonic() - started) if not given.items else 0.0))
        except KeyboardInterrupt:
            say("stopped; the same command goes on with what is not done", sys.stderr)
            return max([OK, *watch.failed.values()])


@dataclass
class _Watch:
    """Which files are complete, and which of them were begun."""

    folders: list[Path]
    output: Path
    recursive: bool
    settle_s: float
    since: dict[str, tuple[State, float]] = field(default_factory=dict)
    """File → how it was when it was last looked at, and since when."""
    begun: dict[str, State] = field(default_factory=dict)
    """File → how it was when it was restored, or tried."""
    failed: dict[tuple[str, int | None], int] = field(default_factory=dict)
    """File, and which of its images → exit code."""
    absent: list[Path] = field(default_factory=list)

    def complete(self, now: float) -> Given:
        """The images to be restored now, which count as begun from here on."""
        if self._is_away():  # without one of them the others' results would lie elsewhere
            return Given(())
        there = items_of(self.folders, self.output, recursive=self.recursive, may_be_none=True)
        names = {str(item.path) for item in there.items}
        self.since = {path: known for path, known in self.since.items() if path in names}
        self.begun = {path: state for path, state in self.begun.items() if path in names}
        ready: list[Item] = []
        for path in dict.fromkeys(str(item.path) for item in there.items):
            try:
                state = state_of(Path(path))
            except OSError:  # it was taken away between two looks
                continue
            except UnreadableImageError:  # which is said when it is tried
                state = 0, 0, 0
            if self.since.get(path, (None, 0.0))[0] != state:
                self.since[path] = state, now
            if now - self.since[path][1] >= self.settle_s and self.begun.get(path) != state:
                self.begun[path] = state
                ready += [item for item in there.items if str(item.path) == path]
        return Given(tuple(ready), (), tuple(item.path for item in there.items))

    def learn(self, outcome: Outcome) -> None:
        """What became of an image; the rest of a set may have failed because this part of it had not come."""
        image = (outcome.entry["input"], outcome.entry.get("position"))
        self.failed.pop(image, None)
        if outcome.entry["status"] == "failed":
            self.failed[image] = outcome.code
        elif outcome.entry["status"] == "part":
            first = os.path.realpath(outcome.entry["first"])
            for other, _ in self.failed:
                if os.path.realpath(other) == first:
                    self.begun.pop(other, None)

    def _is_away(self) -> bool:
        """Whether one of the folders is not there, which is said once."""
        absent = [folder for folder in self.folders if not os.path.isdir(folder)]
        for folder in absent:
            if folder not in self.absent:
                say(f"note: {folder} is gone; waiting for it to come back", sys.stderr)
        self.absent = absent
        return bool(absent)
