"""`deepblur studies`: the studies that are installed, with their questions."""

import argparse
from importlib.util import find_spec
from pathlib import Path

HELP = "list the studies with their questions"


def installed() -> dict[str, Path]:
    """Name → file of every study that is installed."""
    spec = find_spec("deepblur.studies")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return {
        file.stem: file for folder in folders for file in sorted(Path(folder).glob("*.py")) if file.stem[0] not in "_."
    }


def configure(command: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(arguments: argparse.Namespace) -> int:
    for name, file in installed().items():
        print(f"{name:28} {file.read_text(encoding='utf-8').strip().splitlines()[0].strip(chr(34))}")
    return 0
