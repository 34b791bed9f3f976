"""Many image files through one engine: each is done completely, kept from before, or refused; never half."""

import hashlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deepblur.platform.data.image_file import check_plain
from deepblur.platform.system.disk import denied
from deepblur.platform.system.errors import (
    INPUT,
    OK,
    OUTPUT,
    USAGE,
    InputError,
    OutputError,
    PartOfSetError,
    RestorationError,
    UnreadableImageError,
)
from deepblur.platform.system.lock import LockError, shared
from deepblur.platform.system.printable import printable, say
from deepblur.restoration.batch.inputs import Given, Item


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


def check_given(path: Path) -> None:
    """Raises InputError for what is no file, before anything opens it."""
    try:
        check_plain(path)
    except UnreadableImageError as error:
        raise InputError(f"{path}: {error}") from None


def key_of(path: Path, parts: Sequence[str]) -> str:
    """What the results depend on: the file's content and everything in `parts`."""
    check_given(path)
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    except PermissionError:
        raise InputError(f"{path}: may not be read; ask its owner for permission") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy it again") from None
    for part in parts:
        digest.update(f"\n{part}".encode())
    return digest.hexdigest()


def run_all(items: Sequence[Item], work: Callable[[Item, Callable[[float], None]], dict[str, Any]]) -> tuple[list, int]:
    """(a JSON value per image, exit code): every image is tried, whatever happened to the others.

    Args:
        work: does one image and returns its value; it calls its second argument with the share of it that was done.
    """
    done: list[dict[str, Any]] = []
    code = OK
    given = {item.path.resolve() for item in items}
    with tqdm(total=len(items), unit="image", delay=2, file=sys.stderr, bar_format=_BAR, disable=None) as bar:
        for i, item in enumerate(items):
            bar.set_postfix_str(printable(item.path.name), refresh=False)
            try:
                done.append(work(item, bar.update))
            except (RestorationError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
                # torch's own and those of the methods: the other images must not pay for them
                if isinstance(error, PartOfSetError) and error.first.resolve() in given:
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
    return done, code


def ending(action: Callable[[], int]) -> int:
    """The exit code of a command: what it returns, or the kind of failure that ended it, said in one sentence."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return action()
    except RestorationError as error:
        say(f"error: {error}", sys.stderr)
        return error.exit_code
    except ValueError as error:  # an option's value
        say(f"error: {error}", sys.stderr)
        return USAGE
    except OSError as error:  # of a disk that fails, or rights that changed, between our own looks at them
        say(f"error: {denied(error)}", sys.stderr)
        return OUTPUT
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is not done", file=sys.stderr)
        return 130


def tell(
    given: Given, done: Sequence[dict[str, Any]], code: int, as_json: bool, show: Callable[[dict[str, Any]], None]
) -> int:
    """Print what became of the images, for programs or, by `show`, for people, and what was left out; the code."""
    if as_json:
        print(json.dumps({"images": done, "left_out": given.as_json(), "exit_code": code}, indent=2))
    else:
        for entry in done:
            if entry["status"] == "part":
                say(f"{entry['input']} was read as a part of {entry['first']}")
            elif entry["status"] != "failed":  # which was said when it happened
                show(entry)
        given.tell()
    return code


def shown(entry: dict[str, Any], what: str, output: Path) -> str:
    """A file of an image's, below the output folder."""
    return str((Path(entry["folder"]) / entry["files"][what]).relative_to(output))


_BAR = "{l_bar}{bar}| {n:.1f}/{total} images [{elapsed}<{remaining}] {postfix}"
