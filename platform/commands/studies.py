"""`deepblur studies`: the studies that are installed, with their questions."""

import argparse
import ast
from pathlib import Path

from deepblur.platform.system import source_tree

HELP = "list the studies with their questions"


def installed() -> dict[str, Path]:
    """Name → file of every study that is installed."""
    files = sorted((source_tree.root() / "studies").glob("*.py"))
    return {file.stem: file for file in files if file.stem[0] not in "_."}


def question(file: Path) -> str:
    """The first line of a study file's docstring; why there is none."""
    try:
        text = ast.get_docstring(ast.parse(file.read_bytes()))
    except (OSError, SyntaxError, ValueError) as error:
        return f"(cannot be read: {error})"
    return (text or "(no docstring, so no question)").strip().splitlines()[0]


def configure(command: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(arguments: argparse.Namespace) -> int:
    for name, file in installed().items():
        print(f"{name:28} {question(file)}")
    return 0
