"""Many image files through one engine: each is done completely, kept from an earlier command, or refused; never half.

An image's report is its last file, and says from what it was made: where it is there and fits, the image is done.
"""

import hashlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deepblur.platform.image_file import SUFFIXES
from deepblur.platform.inference.failures import (
    INPUT,
    OK,
    USAGE,
    InputError,
    OutputError,
    PartOfSetError,
    RestorationError,
)
from deepblur.platform.lock import LockError, shared

OURS = ("_restored", "_psf", "_wavefront", "_overview", "_gamma")
"""How the names of our own results end: a folder's results are not its images."""
REPORT = "_report.json"


@dataclass(frozen=True)
class Item:
    """One image file, and the name that its results begin with."""

    path: Path
    name: str

    @property
    def suffix(self) -> str:
        """What follows the stem: ".ome.tif" is one suffix."""
        return self.path.name[len(_stem(self.path)) :]


def items_of(given: Sequence[Path]) -> list[Item]:
    """The image files that were named, folders looked through (not below), each once.

    Raises:
        InputError: there is none.
    """
    paths: dict[Path, None] = {}
    for path in given:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            if file is path or (file.suffix.lower() in SUFFIXES and not _stem(file).endswith(OURS)):
                paths.setdefault(file)
    if not paths:
        raise InputError(
            f"there is no image in {', '.join(map(str, given))}; name files or folders with {', '.join(SUFFIXES)}"
        )
    stems = [_stem(path) for path in paths]
    return [
        Item(path, stem if stems.count(stem) == 1 else path.name.replace(".", "_"))
        for path, stem in zip(paths, stems, strict=True)
    ]


def _stem(path: Path) -> str:
    return path.stem.removesuffix(".ome") if path.suffix.lower() in (".tif", ".tiff") else path.stem


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


def key_of(path: Path, parts: Sequence[str]) -> str:
    """What the results depend on: the file's content and everything in `parts`."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    except OSError as error:
        reason = "there is no such file; check its name" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"{path}: {reason}") from None
    for part in parts:
        digest.update(f"\n{part}".encode())
    return digest.hexdigest()


def kept(folder: Path, name: str, key: str) -> dict[str, Any] | None:
    """The report of an image that is done already, with all its files; None where it is not."""
    try:
        report = json.loads((folder / f"{name}{REPORT}").read_text(encoding="utf-8"))
        complete = report["key"] == key and all((folder / file).is_file() for file in report["files"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report if complete else None


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
            bar.set_postfix_str(item.path.name, refresh=False)
            try:
                done.append(work(item, bar.update))
            except (RestorationError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
                # torch's own and those of the methods: the other images must not pay for them
                if isinstance(error, PartOfSetError) and error.first.resolve() in given:
                    done.append({"input": str(item.path), "status": "part", "first": str(error.first)})
                    continue
                sentence = " ".join(str(error).split()) or "there is not enough memory; lower --max-memory"
                sentence = sentence if str(item.path) in sentence else f"{item.path}: {sentence}"
                with bar.external_write_mode(file=sys.stderr):
                    print(f"error: {sentence}", file=sys.stderr)
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
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ValueError as error:  # an option's value
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is not done", file=sys.stderr)
        return 130


def tell(done: Sequence[dict[str, Any]], code: int, as_json: bool, say: Callable[[dict[str, Any]], None]) -> int:
    """Print what became of the images, for programs or, by `say`, for people; returns the code."""
    if as_json:
        print(json.dumps({"images": done, "exit_code": code}, indent=2))
    else:
        for entry in done:
            if entry["status"] == "part":
                print(f"{entry['input']} was read as a part of {entry['first']}")
            elif entry["status"] != "failed":  # which was said when it happened
                say(entry)
    return code


_BAR = "{l_bar}{bar}| {n:.1f}/{total} images [{elapsed}<{remaining}] {postfix}"
