"""What is printed reaches whoever reads it, or is lost: it never ends the work that it tells of.

A terminal or a log may take ASCII only, its reader may leave, its disk may be full. `guard` is called once, where a
command or a study begins.
"""

import codecs
import io
import os
import select
import sys
from contextlib import suppress
from typing import TextIO

ERRORS = "deepblur"
_SPELLED = {
    "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "±": "+-", "·": ".", "→": "->", "←": "<-", "‖": "||",
    "≤": "<=", "≥": ">=", "°": " degrees", "²": "^2", "γ": "gamma", "η": "eta", "λ": "lambda", "σ": "sigma", "µ": "u",
    "μ": "u", "\N{COMBINING CIRCUMFLEX ACCENT}": "^", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip
"""Signs of ours in ASCII; a minus that became a question mark would be another figure."""


def guard() -> None:
    """Make standard output and standard error take everything; once done, it does nothing."""
    codecs.register_error(ERRORS, _spell)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before the program began
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _guarded(stream, fd))


def lost() -> OSError | None:
    """Why standard output reaches nobody any more; None where it does."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = _raw(sys.stdout)
    return raw.error if isinstance(raw, _Outlet) else None


class _Outlet(io.RawIOBase):
    """A file descriptor whose failure is kept, not raised."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        while self.error is None:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:  # somebody who shares it made it so
                select.select([], [self._fd], [])
            except OSError as error:
                self.error = error
        return len(data)


def _guarded(stream: io.TextIOWrapper, fd: int) -> TextIO:
    with suppress(OSError, ValueError):
        stream.flush()
    try:
        real = stream.fileno() == fd
    except (OSError, ValueError):
        real = False
    if not real:  # somebody collects what we say
        stream.reconfigure(errors=ERRORS)
        return stream
    if isinstance(_raw(stream), _Outlet):
        return stream
    buffer = io.BufferedWriter(_Outlet(fd))  # type: ignore[type-var]
    return io.TextIOWrapper(buffer, stream.encoding, ERRORS, line_buffering=True, write_through=fd == 2)


def _raw(stream: object) -> object:
    return getattr(getattr(stream, "buffer", None), "raw", None)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What the encoding lacks in ASCII: our own signs as people write them, all else as \\uXXXX."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    spelled = (_SPELLED.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in text)
    return "".join(spelled), error.end
