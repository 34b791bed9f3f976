"""A result appears under its name when it is complete, or not at all."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from deepblur.platform.system.disk import is_full
from deepblur.platform.system.errors import OutputError


@contextmanager
def replacing(path: Path, needed_bytes: int = 0) -> Iterator[BinaryIO]:
    """A new binary file beside `path`, open for reading and writing, that takes its place when the block ends well.

    Args:
        path: the folder must exist.
        needed_bytes: refused before anything is written where the disk has less room.

    Raises:
        OutputError: an OSError of ours, as one sentence with the path and a remedy. Exceptions of the block that are
            no OSError pass unchanged. The new file is gone in either case, on Ctrl-C as well.
    """
    temporary = _beside(path)
    with _said(path):
        with suppress(FileNotFoundError):  # a name that is too long or has a file as folder shows here, before the work
            if stat.S_ISDIR(os.stat(path).st_mode):
                raise IsADirectoryError(errno.EISDIR, "is a folder")
        _check_room(path, needed_bytes)
        try:
            with temporary.open("x+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, needed_bytes: int = 0) -> Iterator[Path]:
    """The same of a folder, new and empty. A kill in the moment of the exchange may leave neither the old nor the new.

    Raises:
        OutputError: as `replacing`.
    """
    temporary, old = _beside(path), _beside(path)
    with _said(path):
        _check_room(path, needed_bytes)
        try:
            temporary.mkdir()
            yield temporary
            with suppress(FileNotFoundError):
                os.rename(path, old)
            os.rename(temporary, path)
        finally:
            for left in (temporary, old):
                remove(left)


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it; nothing where nothing is. Links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.parent / f".deepblur-{secrets.token_hex(4)}.part"  # short: a long name must not break it


def _check_room(path: Path, needed_bytes: int) -> None:
    if needed_bytes > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, f"{needed_bytes / 1e6:.1f} MB are needed")


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """An OSError of the block becomes a sentence with the path and a remedy."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: could not be written, {_reason(error, path.parent)}") from error


def complete(temporary: Path, final: Path) -> None:
    """Move a finished folder to its place in one step; a folder that is there already, from a killed driver, wins."""
    try:
        temporary.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(temporary)


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file as a whole: a reader sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # never what a link of that name leads to
            file.write(content)
        return partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _reason(error: OSError, folder: Path) -> str:
    """Why, and the remedy."""
    if is_full(error):
        with suppress(OSError):
            free = shutil.disk_usage(folder).free / 1e6
            return f"because the disk of {folder} is full ({free:.1f} MB free); make room or name another folder"
    reasons = {
        errno.EACCES: f"because {folder} does not let you; choose a folder that you may write to",
        errno.EPERM: f"because {folder} does not let you; choose a folder that you may write to",
        errno.EROFS: f"because {folder} is read-only; choose another folder",
        errno.ENOENT: f"because there is no folder {folder}; create it",
        errno.ENOTDIR: f"because {folder} is no folder; choose another name",
        errno.EISDIR: "because that is a folder; choose another name",
        errno.ENAMETOOLONG: "because its name is too long for this disk; choose a shorter one",
        errno.EFBIG: "because this disk takes no file of that size; choose another disk",
    }
    return reasons.get(error.errno or 0, f"because of an error of the disk ({error}); choose another folder")
