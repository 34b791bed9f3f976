"""The file of tuned settings that a tuning study writes, as a comparison reads it."""

import json
from pathlib import Path
from typing import Any

from deepblur.platform.evaluation.levels import NoiseLevel


def read_tuned(path: Path, method: str) -> tuple[tuple[NoiseLevel, dict[str, Any]], ...]:
    """The tuned settings of one method from a file that a tuning study wrote: (noise level, settings) pairs.

    Args:
        path: of the JSON file.
        method: its name there.
    Raises:
        ValueError: the file is missing, is no such file, or lacks the method (with the remedy).
    """
    remedy = "run studies/tune_baselines.py, which prints the file to name here"
    if not path.is_file():
        raise ValueError(f"tuned settings are read from {path}, which is no file; {remedy}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["methods"]
        if method not in entries:
            raise ValueError(f"{path} holds no tuned settings of {method!r}, only of {', '.join(entries)}; {remedy}")
        return tuple((NoiseLevel(**entry["noise"]), dict(entry["tuned"]["settings"])) for entry in entries[method])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of tuned settings ({type(error).__name__}: {error}); {remedy}") from error
