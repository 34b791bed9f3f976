"""What can go wrong for a user who restores images, by kind: each has an exit code and a message of one sentence."""

from pathlib import Path

OK = 0
USAGE = 2
"""Options that make no sense; argparse's own."""
INPUT = 4
"""An image cannot be used: unreadable, empty, constant, not finite, of a kind that is no image."""
MODEL = 5
"""The model is missing, damaged or of another kind, or the registry does not answer."""
OUTPUT = 6
"""A result cannot be written: no permission, no space."""


class RestorationError(Exception):
    """Something that the user can mend; the message is one sentence that names the value and the remedy."""

    exit_code = INPUT


class UnreadableImageError(ValueError):
    """A file that cannot serve as an image; the message is one sentence that names it."""


class InputError(RestorationError, ValueError):
    """An image that cannot be used."""


class PartOfSetError(InputError):
    """An image that is read as a part of another file, `first`."""

    def __init__(self, message: str, first: Path) -> None:
        super().__init__(message)
        self.first = first


class ModelError(RestorationError, ValueError):
    """A model that cannot be had."""

    exit_code = MODEL


class OutputError(RestorationError, OSError):
    """A result that cannot be written."""

    exit_code = OUTPUT


class SettingsError(ValueError):
    """Settings that cannot be carried out, however often it is tried."""


OF_AN_IMAGE = (RestorationError, ValueError, ArithmeticError, RuntimeError, MemoryError)
"""By which one image fails and nothing else does: our own, torch's, and those of the methods."""


def sentence_of(error: Exception) -> str:
    """What one of them says, in a line."""
    return " ".join(str(error).split()) or "there is not enough memory; lower --max-memory, or take a part of the image"
