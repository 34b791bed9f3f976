"""Many image files through one engine: each is done completely, kept from before, or refused; never half."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deepblur.platform.system.errors import (
    INPUT,
    OF_AN_IMAGE,
    OK,
    ModelError,
    OutputError,
    PartOfSetError,
    sentence_of,
)
from deepblur.platform.system.lock import LockError, shared
from deepblur.platform.system.printable import printable, say
from deepblur.platform.system.whole_files import remove
from deepblur.restoration.batch.inputs import Given
from deepblur.restoration.batch.ownership import Item
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.formats.files import content_hash
from deepblur.restoration.memory import ShareError
from deepblur.restoration.options import EngineChoice


@dataclass(frozen=True)
class Results:
    """What became of the images of a batch."""

    images: list[dict[str, Any]]
    """For each its report, as in the file beside the result, with `input`, `folder` and `status`: "done", "kept" from
    an earlier batch, "part" of a set of files whose `first` is among the images, or "failed" with an `error`."""
    left_out: list[dict[str, str]]
    """`path` and `reason` of what lies in a folder that was given and is not read."""
    exit_code: int
    """0, or that of the worst failure; see `deepblur.platform.system.errors`."""


@contextmanager
def output_folders(output: Path, given: Given) -> Iterator[None]:
    """The output folder and those below it that the images need, as `output_folder`."""
    with ExitStack() as stack:
        for below in dict.fromkeys(item.below for item in given.items):
            stack.enter_context(output_folder(output / below))
        yield


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Makes the folder and, where no other command works in it, removes what a killed one left unfinished.

    Raises:
        OutputError: it cannot be made or written to.
    """

    def tidy() -> None:
        for left in folder.glob(".deepblur-*.part"):
            remove(left)

    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(shared(folder / ".deepblur.lock", tidy))
        except LockError as error:
            raise OutputError(str(error)) from None
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written to ({error.strerror}); choose another folder with -o"
            ) from None
        yield


def chosen_engine(choice: EngineChoice) -> tuple[Engine, tuple[str, ...]]:
    """The engine, and what was said about the choice on standard error.

    Raises:
        ModelError: a model that cannot be had, or one that does not fit the rest of the choice.
    """
    try:
        engine, note = choose_engine(choice)
    except PermissionError as error:
        name = error.filename or choice.model
        raise ModelError(f"{name}: may not be read; ask its owner for permission") from None
    if note:
        say(f"note: {note}", sys.stderr)
    return engine, (note,) if note else ()


def key_of(path: Path, parts: Sequence[str]) -> str:
    """What the results depend on: the file's content and everything in `parts`.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    digest = content_hash(path)
    for part in parts:
        digest.update(f"\n{part}".encode())
    return digest.hexdigest()


def run_all(
    given: Given,
    work: Callable[[Item, Callable[[float], None]], dict[str, Any]],
    told: "Told | None" = None,
) -> Results:
    """Every image is tried, whatever happened to the others; what fails is said on standard error.

    Args:
        work: does one image and returns its value; it calls its second argument with the share of it that was done.
    """
    with Progress(given, told) as progress:
        for i, item in enumerate(given.items):
            progress.begin(i)
            progress.end(i, tried(item, partial(work, item, partial(progress.tick, i))))
    return progress.results()


@dataclass(frozen=True)
class Outcome:
    """What became of one image, in plain values: it may come from another process."""

    entry: dict[str, Any]
    code: int = OK
    first: str | None = None
    """The file that this image is read as a part of."""
    put_off: bool = False
    """It needs more memory than a share."""


Told = Callable[[Outcome], None]
"""Called with what became of each image as soon as it is known."""


def tried(item: Item, work: Callable[[], dict[str, Any]]) -> Outcome:
    """One image, done or failed for a reason that the others must not pay for: torch's own and those of the methods."""
    try:
        return Outcome(work())
    except OF_AN_IMAGE as error:
        return failed(item, error)


def failed(item: Item, error: Exception) -> Outcome:
    """With the error as one sentence that names the image."""
    name = printable(str(item.path))
    sentence = " ".join(printable(str(error).replace(str(item.path), name), keep="\n").split()) or sentence_of(error)
    sentence = sentence if name in sentence else f"{name}: {sentence}"
    entry = {"input": str(item.path), "status": "failed", "error": sentence}
    first = str(error.first) if isinstance(error, PartOfSetError) else None
    return Outcome(entry, getattr(error, "exit_code", INPUT), first, isinstance(error, ShareError))


class Progress:
    """What became of the images so far, in whatever order, and the line that says how much is done and how long the
    rest will take."""

    def __init__(self, given: Given, told: Told | None = None) -> None:
        self.given, self.told = given, told
        self.outcomes: dict[int, Outcome] = {}
        self._shares = [0.0] * len(given.items)
        self._paths = {path.resolve() for path in (*(item.path for item in given.items), *given.others)}

    def __enter__(self) -> "Progress":
        # smoothing=0: images that are done at the same time end in bursts, of which only the mean foretells anything
        self._bar = tqdm(total=len(self.given.items), unit="image", delay=2, file=sys.stderr, bar_format=_BAR,
                         disable=None, leave=self.told is None, smoothing=0, miniters=0, mininterval=0.3)  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, i: int) -> None:
        self._bar.set_postfix_str(printable(self.given.items[i].path.name), refresh=False)

    def tick(self, i: int, share: float) -> None:
        """So much of image i was just done; a negative share takes back what was lost."""
        self._shares[i] += share
        self._bar.update(share)

    def lose(self, i: int) -> None:
        """What was done of image i is to be done again."""
        self.tick(i, -self._shares[i])

    def end(self, i: int, outcome: Outcome) -> None:
        if outcome.entry["status"] == "kept" and not self._bar.disable:
            self._bar.initial += 1  # it tells nothing of how long the others take
        self.tick(i, 1 - self._shares[i])
        if outcome.first is not None and Path(outcome.first).resolve() in self._paths:
            outcome = Outcome({"input": outcome.entry["input"], "status": "part", "first": outcome.first})
        elif outcome.entry["status"] == "failed":
            self.say(f"error: {outcome.entry['error']}")
        self.outcomes[i] = outcome
        if self.told is not None:
            with self._bar.external_write_mode(file=sys.stderr):
                self.told(outcome)

    def say(self, line: str) -> None:
        """A line on standard error, above that of the progress."""
        with self._bar.external_write_mode(file=sys.stderr):
            say(line, sys.stderr)

    def results(self) -> Results:
        """When all are done, in the order in which they were given."""
        outcomes = [self.outcomes[i] for i in range(len(self.given.items))]
        code = max([OK, *(outcome.code for outcome in outcomes)])
        return Results([outcome.entry for outcome in outcomes], self.given.as_json(), code)


_BAR = "{l_bar}{bar}| {n:.1f}/{total} images [{elapsed}<{remaining}] {postfix}"
