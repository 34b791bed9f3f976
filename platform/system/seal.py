"""Hashes by which damage to what was finished is noticed before it is used: of files, and of a record itself."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SEAL = "seal"


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record as JSON, with a hash of itself."""
    path.write_text(json.dumps({**content, _SEAL: _digest(content)}))


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The record; None where there is none, or where it is not what was written."""
    try:
        content = json.loads(path.read_text())
        seal = content.pop(_SEAL)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return content if seal == _digest(content) else None


def sha256(file: Path) -> str:
    """Of a file of any size, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    return {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.is_file()}


def first_damaged(folder: Path, hashes: Mapping[str, str]) -> str | None:
    """The first file that is gone or not what it was; None where all are whole."""
    for name, seen in hashes.items():
        try:
            if sha256(folder / name) != seen:
                return name
        except OSError:
            return name
    return None


def set_aside(path: Path) -> Path:
    """Give a damaged file or folder a name that says so; nothing is deleted. Returns its new place."""
    number = 1
    while (place := path.with_name(f"{path.name}.damaged-{number}")).exists() or place.is_symlink():
        number += 1
    return path.rename(place)


def _digest(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # as it will be read: keys are text, tuples are lists
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).hexdigest()
