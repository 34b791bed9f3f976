"""What people and programs read of us: no name of a file can clear a screen, fake a line or break the JSON.

A name is bytes. Those that are no UTF-8 come in as lone surrogates (PEP 383), and must not go out as such.
"""

import html
import json
import re
import sys
from typing import Any, TextIO

_HIDDEN = "\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff"
"""Delete and the C1 controls; marks that reorder, hide or break a line."""
_UNPRINTABLE = re.compile(f"[\x00-\x1f{_HIDDEN}\ud800-\udfff]")
_NOT_IN_JSON = re.compile(f"[{_HIDDEN}\ud800-\udfff]")  # json itself escapes those below the blank
_BYTE = (0xDC80, 0xDCFF)


def printable(text: object, keep: str = "") -> str:
    """The text with everything escaped that does not print, newlines included; a byte that is no UTF-8 as \\xNN.

    Args:
        keep: characters that are meant, such as newlines between lines of our own.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), str(text))


def markdown(text: str) -> str:
    """A text within Markdown, in a cell of a table too: it comes out as it is.

    As entities where MLflow's renderer knows no backslash.
    """
    escaped = re.sub(r"([\\`*_~\[\]|!]|^#|^[-+](?= ))", r"\\\1", printable(" ".join(text.split())))
    return html.escape(escaped, quote=False)


def say(line: str, file: TextIO | None = None) -> None:
    """Print one line: the place where everything that may hold a name or words from elsewhere reaches a terminal."""
    print(printable(line), file=file or sys.stdout)


def note(text: str) -> None:
    """One line of progress, at once even where the output is a file."""
    print(printable(text, keep="\n\t"), file=sys.stdout, flush=True)


def json_text(value: Any) -> str:
    """The value as JSON, always valid UTF-8. A byte of a name that is none is the escape \\udcNN, for Python."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _NOT_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(character: str) -> str:
    code = ord(character)
    if _BYTE[0] <= code <= _BYTE[1]:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
