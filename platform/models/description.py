"""What somebody else's description of a model may say: read within bounds, each setting of its type, before anything
is built.

A description is a JSON object that names keyword arguments. It can come from anybody, so that it is checked as data: a
count of layers in the billions, a text in the place of a number or a list that is nested a million times deep is
refused in one sentence, and costs neither time nor memory.
"""

import inspect
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

LARGEST_BYTES = 16 << 20
"""Of a description: it must not fill the memory before it is refused."""
_DEEPEST = 16
_LARGEST_NUMBER = 1e15
_LONGEST = 4096  # numbers in one setting
_MOST = {
    "unroll": 64,
    "blocks": 64,
    "widths": 4096,
    "hidden": 16384,
    "coordinates": 256,
    "num_parameters": 4096,
    "starts": 1024,
    "cg_iterations": 500,
    "psf_size": 1025,
    "pupil_size": 512,
    "noll": 1000,
    "patch_px": 16384,
    "field_px": 1e6,
    "pixel_um": 1e6,
    "window_px": 16384,
    "output_scale": 1e6,
    "output_offset": 1e6,
    "eta_waves": 100,
    "z_px": 1e4,
    "wavenumber": 1e3,
    "lam": 1e6,
}
"""The largest size of a setting that costs time or memory, or that would overflow: far beyond what anybody trains."""
_LEAST = {"cutoff": 1e-3, "coordinates": 1, "hidden": 1, "widths": 1}
"""The smallest, where nothing else refuses a smaller one before it does harm."""


def read_description(file: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        ValueError: too long, not JSON, not an object, nested too deeply, or with a number beyond 1e15; names the file.
        OSError: the file cannot be read.
    """
    if (size := file.stat().st_size) > LARGEST_BYTES:
        raise ValueError(f"{file} has {size} bytes, too many for the description of a model; copy the model again")
    try:
        return parse_description(file.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not JSON ({error}); copy the model again") from None
    except ValueError as error:
        raise ValueError(f"{file} {error}; copy the model again") from None


def parse_description(text: str) -> dict[str, Any]:
    """The JSON object of a text; ValueError says what is wrong with it, in words that follow the name of its file."""
    try:
        description = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply for a description") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    check_values(description)
    if not isinstance(description, dict):
        raise ValueError("holds no description, which is a JSON object")
    return description


def check_values(value: Any, depth: int = 0) -> None:
    """Raises ValueError where a JSON value is nested too deeply or holds a whole number that no computation takes."""
    if depth > _DEEPEST:
        raise ValueError("is nested too deeply for a description")
    if isinstance(value, int | float) and _LARGEST_NUMBER < abs(value) < math.inf:
        raise ValueError(f"holds a number beyond {_LARGEST_NUMBER:g}")
    if isinstance(value, Mapping):
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        check_values(inner, depth + 1)


def check_settings(kind: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Holds settings from a description against the types that `kind` declares for its keywords, and against bounds.

    Args:
        kind: a class or function with type hints, or a partial of one.
        settings: JSON values by keyword; keywords that `kind` does not have are somebody else's to refuse.
    Raises:
        ValueError: a setting of another type, not finite, too large or too long; names it and its value.
    """
    hints = {name: keyword.annotation for name, keyword in inspect.signature(kind, eval_str=True).parameters.items()}
    for name, value in settings.items():
        if name in hints and not _is(value, hints[name]):
            raise ValueError(f"{name} must be {_words(hints[name])}; got {_shown(value)}")
        numbers = value if isinstance(value, list | tuple) else [value]
        if len(numbers) > _LONGEST:
            raise ValueError(f"{name} holds at most {_LONGEST} numbers; got {len(numbers)}")
        for number in numbers:
            if isinstance(number, int | float) and not abs(number) <= _MOST.get(name, _LARGEST_NUMBER):
                raise ValueError(f"{name} is at most {_MOST.get(name, _LARGEST_NUMBER):g} here; got {_shown(number)}")
            if isinstance(number, int | float) and not number >= _LEAST.get(name, -math.inf):
                raise ValueError(f"{name} is at least {_LEAST[name]:g} here; got {_shown(number)}")


def _is(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type; what JSON cannot hold, such as a function, nothing is of."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(_is(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str | int) and value in inner
    if origin in (tuple, list, Sequence):
        return isinstance(value, list | tuple) and all(_is(one, inner[0]) for one in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint) and isinstance(value, bool | str)


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in inner)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (tuple, list, Sequence):
        return f"a list, each {_words(inner[0])}"
    if origin in (dict, Mapping):
        return "an object"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", type(None): "null"}
    return words.get(hint, "left out")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
