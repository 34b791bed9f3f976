"""The folders of finished stages: what each says of itself, whether it is whole, and what others left beside them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepblur.platform.system.seal import first_damaged, read_sealed, set_aside

RESULT = "result.json"
"""The file in a stage's folder that holds its result, and the hashes of the others by which damage is noticed."""
_UNFINISHED = re.compile(r"\.[0-9a-f]+-\d+")
_PARTIAL = re.compile(r"\..+\.\d+\.partial")


class FinishedStages:
    """The finished stages of one runs folder, as they lie there."""

    def __init__(self, runs: Path, say: Callable[[str], None]) -> None:
        self._runs, self._say = runs, say
        self._whole: dict[str, dict[str, Any]] = {}
        """Records of folders that were checked."""

    def folder(self, key: str) -> Path:
        return self._runs / "stages" / key

    def record(self, key: str) -> dict[str, Any] | None:
        """What the folder of a stage says of itself; None where it is not complete and whole."""
        folder = self.folder(key)
        if not folder.is_dir():
            self._whole.pop(key, None)
        elif key not in self._whole:
            record = read_sealed(folder / RESULT)
            if record is not None and record["key"] == key and first_damaged(folder, record["files"]) is None:
                self._whole[key] = record
        return self._whole.get(key)

    def set_aside(self, key: str) -> None:
        """Take what is not whole out of the way of a new folder, if there is anything."""
        folder = self.folder(key)
        if folder.exists() or folder.is_symlink():
            record = read_sealed(folder / RESULT)
            what = RESULT if record is None else first_damaged(folder, record["files"]) or RESULT
            place = set_aside(folder)
            self._say(f"{what} of the finished stage {folder} is damaged or gone; the stage is made again, and what is "
                      f"left is now {place.name}")  # fmt: skip

    def remove_leftovers(self, done: set[str]) -> None:
        """Remove what a driver or worker that was killed left: half-written files, checkpoints of done stages."""
        live = self._runs / "live"
        for leftover in (self._runs / "stages").glob(".*"):
            if _UNFINISHED.fullmatch(leftover.name):  # other hidden folders are not ours
                shutil.rmtree(leftover, ignore_errors=True)
        for partial in (*live.glob(".*.partial"), *self._runs.glob("studies/**/.*.partial")):
            if _PARTIAL.fullmatch(partial.name) and partial.is_file():
                partial.unlink(missing_ok=True)
        for file in live.iterdir() if live.is_dir() else ():
            key = file.name.partition(".")[0]
            if key in done and file.is_file() and self.record(key):
                file.unlink(missing_ok=True)
        for scratch in (self._runs / "train").glob("*"):
            if scratch.name in done and self.record(scratch.name):
                shutil.rmtree(scratch, ignore_errors=True)
