"""Why a stage failed: its first cause, in one line, and whether its settings are to blame."""

import re

import torch

from deepblur.platform.system.disk import is_full
from deepblur.platform.system.errors import SettingsError

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE)
"""How torch says it of memory that is not a GPU's, of which a class of error speaks."""


def root_cause(error: BaseException) -> BaseException:
    """What went wrong at first, without the layers it travelled through."""
    while True:
        inner = getattr(error, "cause", None) or error.__cause__
        failures = getattr(error, "worker_failures", None)
        if failures:
            inner = next(iter(failures.values()))
        if not isinstance(inner, BaseException) or inner is error:
            return error
        error = inner


def of_the_settings(error: BaseException) -> bool:
    """Whether a stage failed for what it was told to do: the same settings would end in the same way here.

    The loss diverged, the memory does not suffice, or the settings cannot be carried out.
    """
    error = root_cause(error)
    if isinstance(error, (FloatingPointError, MemoryError, torch.OutOfMemoryError, SettingsError)):
        return True
    return isinstance(error, RuntimeError) and not is_full(error) and bool(_NO_MEMORY.search(str(error)))


def describe_error(error: BaseException) -> str:
    """The root cause in one line."""
    error = root_cause(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"
