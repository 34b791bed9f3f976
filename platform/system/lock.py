"""Lock files: the system frees a lock when its process dies, and a lock file is never a way into another file."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


class LockError(RuntimeError):
    """What bears a lock file's name is none; the message is one sentence."""


def open_lock(path: Path, *, written: bool = False) -> int:
    """A descriptor of the lock file, made where there is none. Nothing is followed, emptied or waited for.

    Args:
        written: something will be written into it, so that it must have no other name.

    Raises:
        LockError: the name is that of a link, a folder, a pipe or a device.
        OSError: it cannot be made or opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise LockError(_refusal(path)) from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (written and found.st_nlink > 1):
        os.close(descriptor)
        raise LockError(_refusal(path))
    return descriptor


class HeldError(RuntimeError):
    """Another process holds the lock; the message says which one, as far as it is known."""


def hold(path: Path) -> TextIO:
    """The open file of a lock, which says who holds it until the file is closed or this process ends. Nobody waits.

    Raises:
        HeldError, LockError, OSError: it is held, or as `open_lock`.
    """
    file = os.fdopen(open_lock(path, written=True), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            raise HeldError(file.read().strip() or "unknown") from None
    file.truncate(0)
    file.write(f"{os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Held by one process of this machine at a time; others wait. The file stays, so that all lock the same one.

    Raises:
        LockError, OSError: as `open_lock`.
    """
    descriptor = open_lock(path)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def shared(path: Path, alone: Callable[[], None]) -> Iterator[None]:
    """Held by any number of processes. One that comes while there is no other calls `alone` first, and nobody else
    begins before that returns; the last one to leave calls it again, for others may have been killed, and removes the
    file.

    Raises:
        LockError, OSError: as `open_lock`.
    """
    while True:
        descriptor = open_lock(path)
        first = _try(descriptor, fcntl.LOCK_EX)
        if not first:
            with suppress(OSError):  # waits for a moment only: nobody works under the other kind of lock
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_still(path, descriptor):
            break
        os.close(descriptor)  # its last holder removed it before we had the lock
    try:
        if first:
            alone()
            _try(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        if _try(descriptor, fcntl.LOCK_EX) and _is_still(path, descriptor):
            alone()
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _refusal(path: Path) -> str:
    return f"{path} is a link or no plain file, and is not used as a lock; remove it or choose another folder"


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the descriptor's file is the one that has the name now."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino)
