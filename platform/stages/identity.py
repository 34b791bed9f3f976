"""What a stage is, as text: the canonical form of its specification, and which code counts for it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deepblur.platform.data.sources import Source
from deepblur.platform.system import code

CARRIES = (
    "platform/data/cache", "platform/data/dead_leaves", "platform/data/image_file", "platform/data/sources",
    "platform/stages/", "platform/system/code", "platform/system/disk", "platform/system/errors",
    "platform/system/memory", "platform/system/printable", "platform/system/seal", "platform/system/source_tree",
    "platform/system/whole_files", "platform/tracking/", "platform/training/in_process", "restoration/",
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
    raise TypeError(f"a specification holds plain values only; got {type(value).__name__}: {value!r}")


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """A specification as dotted names → text, for tables and MLflow: 'degradation.eta_waves' → '0.1'."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        parts = [flatten(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
        return {name: text for part in parts for name, text in part.items()}
    if isinstance(value, tuple) and any(dataclasses.is_dataclass(v) for v in value):
        return {prefix: " + ".join(str(v) for v in value)}
    return {prefix: str(value)}


def code_of(parts: Iterable[str], objects: Iterable[Any]) -> dict[str, str]:
    """Module → hash of its code, of every module that decides about a stage's result; see `system/code`."""
    return code.code_of(parts, objects, CARRIES, tuple(DOORS.items()))


def with_imports(*parts: str) -> tuple[str, ...]:
    """The modules of which a stage's code counts, and those that they import, directly or not; see `system/code`."""
    return code.with_imports(*parts, closed=CARRIES, doors=tuple(DOORS.items()))


def classes_in(value: Any) -> Iterator[type]:
    """The classes of everything that a specification holds, but for images, which count by their pixels."""
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Source)):
        yield type(value)
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ():
        yield from classes_in(part)
