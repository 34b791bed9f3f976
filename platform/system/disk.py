"""What a disk that is full, or does not let us, looks like from here: one sentence, whichever library met it."""

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SPELLED = ("no space left", "disk is full", "disk quota exceeded")


class DiskFullError(RuntimeError):
    """Something could not be written because its disk is full."""


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """The block writes `what` below `folder`.

    Raises:
        DiskFullError: it failed because the disk of `folder` is full; any other error passes as it is.
    """
    try:
        yield
    except Exception as error:  # the libraries that write for us have errors of their own kinds
        if isinstance(error, DiskFullError) or not is_full(error):
            raise
        raise DiskFullError(f"{what} could not be written: {full(folder)}") from error


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that a disk is full."""
    earlier = error.__cause__ or error.__context__
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return True
    return any(text in str(error).lower() for text in _SPELLED) or (earlier is not None and is_full(earlier))


def denied(error: OSError) -> str:
    """The sentence that says which file or folder the system refused, and why."""
    if error.filename is None or error.strerror is None:
        return str(error) or type(error).__name__
    reason = error.strerror[0].lower() + error.strerror[1:]
    return f"{error.filename} cannot be read or written ({reason}); correct its permissions or name another"


def full(folder: Path) -> str:
    """The sentence that says which disk is full, that of `folder` or that of temporary files, and what to do."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free, name = min((shutil.disk_usage(path).free, path) for path in (existing, Path(tempfile.gettempdir())))
    return (
        f"the disk of {name} is full ({free / 1e6:.1f} MB free); make room, then the same command goes on where this "
        "one stopped"
    )
