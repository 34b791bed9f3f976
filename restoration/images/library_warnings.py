"""Image libraries warn and log about every oddity of a file; a user reads one sentence instead."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent() -> Iterator[None]:
    """Within the block, warnings and messages of these libraries go nowhere; errors are raised as ever."""
    loggers = [logging.getLogger(name) for name in ("tifffile", "PIL", "imagecodecs")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
