"""Many images at once: who does which, what a process that dies costs, and the same results as one after another."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from deepblur.platform.system.errors import InputError
from deepblur.restoration.batch.image_files import Outcome, Progress, Results, Told, failed, tried
from deepblur.restoration.batch.inputs import Given
from deepblur.restoration.batch.ownership import Item

TRIES = 2
"""How often an image is begun whose process dies."""
SEVERAL = 2
"""Images count as some of several, however many there are, where each is to be computed with one thread."""


@dataclass(frozen=True)
class Death:
    """A process ended in the middle of an image."""

    how: str


Event = tuple[int, float | Outcome | Death]
"""Of an image: the share of it that was just done, or how it ended."""


class Crew(AbstractContextManager["Crew"], Protocol):
    """Processes that do an image each. When the block ends they are gone, whatever they were doing."""

    def has_room(self) -> bool:
        """Whether another image can be begun."""

    def begin(self, i: int, item: Item) -> None:
        """Let a process begin with image i."""

    def events(self) -> Sequence[Event]:
        """Wait for the next thing that happens, which is one at least."""


def threads_each(images: int) -> int:
    """With how many threads an image is computed: with all where it is the only one, else with one, or as many as
    OMP_NUM_THREADS says.

    The last digits of sums follow that number (of `richardson-lucy`, 1e-5 of the range), so it must not follow that of
    the workers.
    """
    return torch.get_num_threads() if images == 1 or "OMP_NUM_THREADS" in os.environ else 1


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """So many in this process, for the length of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Job(Protocol):
    """What is done with each image; see `restore.Restoring`."""

    def kept(self, item: Item) -> dict[str, Any] | None: ...

    def abandon(self, item: Item) -> None: ...


def check_workers(workers: int | None) -> None:
    """Raises ValueError for what is no number of processes."""
    if workers is not None and not 1 <= workers <= 1024:
        raise ValueError(f"--workers is a number of processes from 1 to 1024; got {workers}")


def run_together(
    given: Given,
    job: Job,
    crew: Crew,
    alone: Callable[[Item, Callable[[float], None]], dict[str, Any]],
    told: Told | None = None,
) -> Results:
    """Every image is tried, whatever happened to the others; what fails is said on standard error.

    An image whose process dies, killed or out of memory, is begun once more; then it has failed, and the others go on.

    Args:
        job: what is done; this process looks which images are done already.
        crew: does the others.
        alone: does, in this process and when the crew is gone, an image that needs more than a share of the memory.
    """
    with Progress(given, told) as progress:
        later = _carry_out(progress, job, crew)
        if later:
            progress.say(f"note: {len(later)} of the images need more than a worker's share of --max-memory, and are "
                         "restored one after another")  # fmt: skip
        for i in later:
            progress.begin(i)
            progress.end(i, tried(given.items[i], partial(alone, given.items[i], partial(progress.tick, i))))
    return progress.results()


def _carry_out(progress: Progress, job: Job, crew: Crew) -> list[int]:
    """All images that are not done yet; returns those that were put off, in their order."""
    items = progress.given.items
    waiting = dict.fromkeys(range(len(items)))
    busy: dict[int, tuple[Path, str]] = {}
    begun, put_off = Counter[int](), list[int]()
    with _abandoning(job, items, busy), crew:
        while waiting or busy:
            for i in _next(waiting, items, busy, crew):
                if (known := _known(job, items[i])) is not None:
                    progress.end(i, known)
                    continue
                progress.begin(i)
                begun[i] += 1
                busy[i] = _rivalry(items[i])
                crew.begin(i, items[i])
            for i, event in crew.events() if busy else ():
                if isinstance(event, float):
                    progress.tick(i, event)
                    continue
                del busy[i]
                if isinstance(event, Death):
                    job.abandon(items[i])
                    if begun[i] < TRIES:
                        progress.lose(i)
                        progress.say(f"note: {items[i].path}: the process at work on it {event.how}; tried once more")
                        waiting = {i: None, **waiting}
                    else:
                        progress.end(i, _lost(items[i], event))
                elif event.put_off:
                    progress.lose(i)
                    put_off.append(i)
                else:
                    progress.end(i, event)
    return sorted(put_off)


@contextmanager
def _abandoning(job: Job, items: Sequence[Item], busy: Iterable[int]) -> Iterator[None]:
    """Whatever ends the block, no image stays half done."""
    try:
        yield
    finally:
        for i in busy:
            job.abandon(items[i])


def _next(
    waiting: dict[int, None], items: Sequence[Item], busy: dict[int, tuple[Path, str]], crew: Crew
) -> Iterator[int]:
    """Images to begin with, taken from those that wait.

    One whose results might get another's name, as `a.tif` and `a-2.tif` may, waits for that one, so that who gets
    which does not depend on who is faster.
    """
    for i in list(waiting):
        if not crew.has_room():
            return
        if _rivalry(items[i]) not in busy.values():
            del waiting[i]
            yield i


def _known(job: Job, item: Item) -> Outcome | None:
    """What became of an image that is not to be done; None for the others."""
    outcome = tried(item, lambda: job.kept(item) or {})
    return outcome if outcome.entry else None


def _rivalry(item: Item) -> tuple[Path, str]:
    """The same for images that may want the same names; see `ownership.claimed`."""
    return item.below, re.sub(r"(-\d+)+$", "", item.name).casefold()


def _lost(item: Item, death: Death) -> Outcome:
    return failed(item, InputError(
        f"the process at work on it {death.how}, {TRIES} times; if memory ran out, take fewer --workers or a lower "
        "--max-memory"
    ))  # fmt: skip
