"""From the options of a command to a function's call, and how it ends: in words or as JSON, and the exit code."""

import argparse
import functools
import inspect
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deepblur.platform.system.disk import denied
from deepblur.platform.system.errors import OUTPUT, USAGE, RestorationError
from deepblur.platform.system.printable import say

if TYPE_CHECKING:
    from deepblur.restoration.batch.image_files import Results

T = TypeVar("T")
_REMARKS = 10
_LEFT_OUT = 8


def called(function: Callable[..., T], arguments: argparse.Namespace, **more: Any) -> T:
    """A function's value for the options that bear the names of its parameters; what is no option has its default."""
    typed = vars(arguments) | more
    return function(**{name: typed[name] for name in inspect.signature(function).parameters if name in typed})


def ending(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A command that ends with its exit code, or with the kind of failure that ended it, said in one sentence."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return command(arguments)
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

    return run


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C is heard when the block is done: a line whose buffer is being flushed would be printed once more."""
    heard: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: heard.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if heard:
        raise KeyboardInterrupt


def say_results(results: "Results", as_json: bool, show: Callable[[dict[str, Any]], None]) -> int:
    """Print what became of the images, for programs or, by `show`, for people, and what was left out; the code."""
    if as_json:
        value = {"images": results.images, "left_out": results.left_out, "exit_code": results.exit_code}
        print(json.dumps(value, indent=2))
        return results.exit_code
    for entry in results.images:
        if entry["status"] == "part":
            say(f"{entry['input']} was read as a part of {entry['first']}")
        elif entry["status"] != "failed":  # which was said when it happened
            show(entry)
    say_left_out(results.left_out)
    return results.exit_code


def say_left_out(left_out: Sequence[dict[str, str]]) -> None:
    """A line on standard error for each reason why files of a folder were not read."""
    from deepblur.restoration.batch.inputs import IS_HIDDEN

    for reason, count in Counter(entry["reason"] for entry in left_out).items():
        names = [entry["path"] for entry in left_out if entry["reason"] == reason]
        named = "" if reason == IS_HIDDEN else f": {', '.join(names[:_LEFT_OUT])}"
        more = f" and {count - _LEFT_OUT} more" if named and count > _LEFT_OUT else ""
        say(f"left out, {count} ({reason}){named}{more}", sys.stderr)


def file_of(entry: dict[str, Any], what: str, output: Path) -> str:
    """A file of an image's, below the output folder."""
    return str((Path(entry["folder"]) / entry["files"][what]).relative_to(output))


def say_optics(entry: dict[str, Any]) -> None:
    """For which cutoff the PSF was found, where that is neither the user's own word nor the sentence's."""
    from deepblur.restoration.report import cutoff_in_words

    words = cutoff_in_words(entry["optics"])
    if "(" in words and not entry["optics"]["cutoff_assumed"]:
        say(f"    {words}")


def say_remarks(entry: dict[str, Any]) -> None:
    """What was done to frames beside, each in a line; of many the first."""
    for remark in entry["remarks"][:_REMARKS]:
        say(f"    {remark}")
    if (more := len(entry["remarks"]) - _REMARKS) > 0:
        say(f"    … and {more} more of the kind; see the report")
