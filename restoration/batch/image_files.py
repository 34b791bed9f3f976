"""Many image files through one engine: each is done completely, kept from before, or refused; never half."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deepblur.platform.data.image_file import check_plain
from deepblur.platform.system.errors import (
    INPUT,
    OK,
    ModelError,
    OutputError,
    PartOfSetError,
    RestorationError,
)
from deepblur.platform.system.lock import LockError, shared
from deepblur.platform.system.printable import printable, say
from deepblur.restoration.batch.inputs import Given
from deepblur.restoration.batch.ownership import Item
from deepblur.restoration.engine_choice import choose_engine
from deepblur.restoration.engines.engine import Engine
from deepblur.restoration.images.recording import in_one_sentence
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
            with suppress(OSError):
                left.unlink()

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
    with in_one_sentence(path):
        check_plain(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    for part in parts:
        digest.update(f"\n{part}".encode())
    return digest.hexdigest()


def run_all(given: Given, work: Callable[[Item, Callable[[float], None]], dict[str, Any]]) -> Results:
    """Every image is tried, whatever happened to the others; what fails is said on standard error.

    Args:
        work: does one image and returns its value; it calls its second argument with the share of it that was done.
    """
    done: list[dict[str, Any]] = []
    code = OK
    items = given.items
    paths = {item.path.resolve() for item in items}
    with tqdm(total=len(items), unit="image", delay=2, file=sys.stderr, bar_format=_BAR, disable=None) as bar:
        for i, item in enumerate(items):
            bar.set_postfix_str(printable(item.path.name), refresh=False)
            try:
                done.append(work(item, bar.update))
            except (RestorationError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
                # torch's own and those of the methods: the other images must not pay for them
                if isinstance(error, PartOfSetError) and error.first.resolve() in paths:
                    done.append({"input": str(item.path), "status": "part", "first": str(error.first)})
                    continue
                name = printable(str(item.path))
                sentence = " ".join(printable(str(error).replace(str(item.path), name), keep="\n").split())
                sentence = sentence or "there is not enough memory; lower --max-memory"
                sentence = sentence if name in sentence else f"{name}: {sentence}"
                with bar.external_write_mode(file=sys.stderr):
                    say(f"error: {sentence}", sys.stderr)
                done.append({"input": str(item.path), "status": "failed", "error": sentence})
                code = max(code, getattr(error, "exit_code", INPUT))
            finally:
                bar.update(i + 1 - bar.n)
    return Results(done, given.as_json(), code)


_BAR = "{l_bar}{bar}| {n:.1f}/{total} images [{elapsed}<{remaining}] {postfix}"
