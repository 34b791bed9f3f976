"""What every source of images answers with, and how files on a disk are listed and divided."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np


class FileState(NamedTuple):
    """What tells a changed file from an unchanged one without opening it; mtime_ns 0 where the content has no file."""

    name: str
    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """One image of a source: its name within the source, its content group, and how to get it, (H, W) in [0, 1]."""

    name: str
    group: str
    load: Callable[[], np.ndarray]


def bucket(name: str) -> int:
    """0 … 9, evenly, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") % 10


def require_one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field} is one of {', '.join(allowed)}; got {value!r}")


def require_folder(path: Path, meaning: str) -> None:
    if not path.is_dir():
        raise FileNotFoundError(f"{path} should be {meaning}, but there is no such folder; correct the path")


def file_state(path: str | Path, name: str) -> FileState:
    status = os.stat(path)
    return FileState(name, status.st_size, status.st_mtime_ns)


def scan(root: Path) -> list[FileState]:
    """All files below root, sorted by relative name; hidden ones (._x.jpg, .thumbnails/) are left out."""
    found = []
    for folder, subfolders, files in os.walk(root, onerror=_refuse):
        subfolders[:] = [s for s in subfolders if not s.startswith(".")]
        above = "" if Path(folder) == root else Path(folder).relative_to(root).as_posix() + "/"
        for file in files:
            if not file.startswith("."):
                path = os.path.join(folder, file)
                if os.path.exists(path) or not os.path.islink(path):  # else a link to nothing, or to itself
                    with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                        found.append(file_state(path, above + file))
    return sorted(found)


def _refuse(error: OSError) -> None:
    """A folder that may not be read holds images that would be missing without a word."""
    raise ValueError(
        f"the folder {error.filename} cannot be read ({error.strerror}); ask its owner for permission, or name another"
    )
