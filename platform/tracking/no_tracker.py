"""The record of a study that nobody keeps, and with it all that a record can be asked to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Labels = Mapping[str, str]


class NoTracker:
    """Records nothing: what `--tracking-uri none` stands for, and the list of what a tracker does.

    No method raises. Run ids are "" where nothing is recorded.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        """What could not be recorded, one sentence each."""

    def study_run(self, *, key: str, name: str, params: Labels, tags: Labels | None = None) -> str:
        """Id of the owner's run with this key, opened again if there is one that has not finished.

        Records the load of this machine until it ends.
        """
        return ""

    def child_run(self, *, parent: str, key: str, name: str, params: Labels, tags: Labels | None = None) -> str:
        """Id of the parent's run with this key; one that has finished stays finished."""
        return ""

    def log_rows(self, run_id: str, rows: Sequence[Mapping[str, float]], step_key: str = "step") -> None:
        """Curves: each row holds a step and values at it. What is recorded at a step already is not recorded again."""

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Results: one value each, the latest counts."""

    def log_tags(self, run_id: str, tags: Labels) -> None:
        """Labels that may change later."""

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """A text artifact under this relative path."""

    def log_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """An artifact, in a folder of the run; the same name again replaces it."""

    def log_folder(self, run_id: str, source: Path, folder: str | None = None) -> None:
        """All files below `source`, in a folder of the run."""

    def log_pictures(self, run_id: str, pictures: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Grey pictures in [0, 1] for the image grid: key → pictures (H, W); the same ones are logged once."""

    def describe(self, tags: Labels) -> None:
        """Tags of the experiment, which all runs of a study share; what it has stays, for people may have edited it."""

    def view(self, key: str) -> str:
        """Address of a saved view of the experiment's runs."""
        return ""

    def page(self, run_id: str, artifact: str = "") -> str:
        """Address of the run, or of a file in its artifact viewer, within the pages of whichever server shows it."""
        return ""

    def comparison(self, run_ids: Sequence[str]) -> str:
        """Address of the page that shows these runs side by side."""
        return ""

    def finish(self, run_id: str, ok: bool, stopped: bool = False) -> None:
        """Ends the run as FINISHED, as FAILED, or as KILLED where somebody stopped it."""
