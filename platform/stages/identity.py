"""What a stage is, as text: the canonical form of its specification, and which code counts for it."""

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from deepblur.platform.data.sources import Source
from deepblur.platform.system import code

CARRIES = (
    "platform/data/cache", "platform/data/dead_leaves", "platform/data/image_file", "platform/data/sources",
    "platform/experiment/", "platform/stages/", "platform/system/code", "platform/system/disk",
    "platform/system/errors", "platform/system/memory", "platform/system/printable", "platform/system/seal",
    "platform/system/source_tree", "platform/system/whole_files", "platform/tracking/",
    "platform/training/in_process", "restoration/",
)  # fmt: skip
"""Beginnings of the names of modules that store, count and move what others compute, or that read images, which count
by their pixels. They, and what only they import, are no part of a stage's code."""
DOORS = {
    "platform/training/trainer": ("platform/evaluation/grid",),
    "platform/arms/methods/method": ("baselines/", "platform/optics/"),
    "platform/models/model": ("baselines/",),
    "platform/models/shipped": ("baselines/",),
}
"""Module → what it imports for some stages only, which name it themselves: a change in one method leaves the results of
the others standing."""


def canonical(value: Any, fingerprints: Mapping[tuple[Source, ...], str]) -> Any:
    """`value` as plain JSON data: dataclasses by class name and fields, sources by the fingerprint of their pixels."""
    if isinstance(value, tuple) and all(isinstance(v, Source) for v in value) and value in fingerprints:
        return {"pixels": fingerprints[value]}
    if isinstance(value, Source):
        raise ValueError(f"no fingerprint is known for {value}; open its store before asking for a stage's key")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: canonical(getattr(value, f.name), fingerprints) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [canonical(v, fingerprints) for v in value]
    if isinstance(value, Mapping):
        return {str(k): canonical(v, fingerprints) for k, v in value.items()}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, partial):
        settings = canonical([value.args, value.keywords], fingerprints)
        return {**canonical(value.func, fingerprints), "settings": settings}
    if is_part(value):
        return {"part": _checked(value).__qualname__}
    raise TypeError(
        f"a specification holds plain values, functions and classes only; got {type(value).__name__}: {value!r}"
    )


def is_part(value: Any) -> bool:
    """Whether a value of a specification is a part of somebody's own: a function or a class, alone or with settings."""
    return isinstance(value, (type, partial)) or inspect.isroutine(value)


def _checked(part: Any) -> Any:
    if inspect.ismethod(part) or "<" in part.__qualname__:
        raise ValueError(
            f"a part of your own is a function or a class that stands at the top of a file, where other processes find "
            f"it and a later edit of it is seen; got {part.__qualname__}"
        )
    return part


def said(value: Any) -> str:
    """A value of a specification as text; of a part of somebody's own its name, the same wherever its file lies."""
    if isinstance(value, partial):
        settings = ", ".join([*map(said, value.args), *(f"{k}={said(v)}" for k, v in value.keywords.items())])
        return f"{said(value.func)}({settings})"
    return value.__qualname__ if is_part(value) else str(value)


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """A specification as dotted names → text, for tables and MLflow: 'degradation.eta_waves' → '0.1'."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        parts = [flatten(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
        return {name: text for part in parts for name, text in part.items()}
    if isinstance(value, tuple) and any(dataclasses.is_dataclass(v) for v in value):
        return {prefix: " + ".join(str(v) for v in value)}
    return {prefix: said(value)}


def code_of(parts: Iterable[str], objects: Iterable[Any]) -> dict[str, str]:
    """Module → hash of its code, of every module that decides about a stage's result; see `system/code`."""
    return code.code_of(parts, objects, CARRIES, tuple(DOORS.items()))


def with_imports(*parts: str) -> tuple[str, ...]:
    """The modules of which a stage's code counts, and those that they import, directly or not; see `system/code`."""
    return code.with_imports(*parts, closed=CARRIES, doors=tuple(DOORS.items()))


def parts_in(value: Any) -> Iterator[Any]:
    """The classes of everything that a specification holds, but for images, which count by their pixels, and the
    functions and classes among its values."""
    if isinstance(value, partial):
        value = (value.func, value.args, value.keywords)
    elif is_part(value):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, (type, Source)):
        yield type(value)
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ():
        yield from parts_in(part)
