"""What must hold of a runs folder and of its record, however often the study on it was struck."""

import hashlib
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_TIMES = re.compile(r"seconds|latency|cost|(^|_)(time|host|node|attempt|started|finished|pid)|_per_s$|_s$|_mb$")
"""Names of values that tell when, where, how fast or with how much memory, and so differ from run to run."""

_HASHES = {"files", "seal"}
"""Names of hashes of what holds such values; the files themselves are compared without them."""


@dataclass(frozen=True)
class Stage:
    """A row of the ledger."""

    key: str
    label: str
    state: str
    attempt: int
    started: float


def stages(runs: Path) -> list[Stage]:
    """The ledger, read beside its writer; empty where there is none yet."""
    if not (runs / "ledger.db").is_file():
        return []
    with closing(sqlite3.connect(f"file:{runs / 'ledger.db'}?mode=ro", uri=True, timeout=20)) as database:
        try:
            return [Stage(*row) for row in database.execute("select key, label, state, attempt, started from stage")]
        except sqlite3.OperationalError:  # its tables are not there yet
            return []


def rows(runs: Path) -> dict[str, float]:
    """Key of a training → when its curve last grew."""
    found = {}
    for file in (runs / "live").glob("*.jsonl"):
        try:
            found[file.stem] = file.stat().st_mtime
        except FileNotFoundError:
            continue
    return found


def content(folder: Path) -> dict[str, str]:
    """Name of a stage's file → hash of what it holds, times and circumstances left out."""
    files = (file for file in sorted(folder.iterdir()) if file.name != "made.json")
    return {file.name: hashlib.sha256(_timeless(file)).hexdigest() for file in files}


def _timeless(file: Path) -> bytes:
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return repr([(n, arrays[n].dtype, arrays[n].shape, arrays[n].tobytes()) for n in arrays.files]).encode()
    if file.suffix == ".jsonl":
        return repr([_without_times(json.loads(line)) for line in file.read_text().splitlines()]).encode()
    if file.suffix == ".json":
        return repr(_without_times(json.loads(file.read_text()))).encode()
    return file.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in sorted(value.items()) if k not in _HASHES and not _TIMES.search(k)}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Truth:
    """What the undisturbed study found."""

    folders: dict[str, dict[str, str]]
    items: str
    recorded: int
    """MLflow runs."""
    seconds: float

    @classmethod
    def of(cls, runs: Path, record: "Runs", seconds: float) -> "Truth":
        folders = {stage.key: content(runs / "stages" / stage.key) for stage in stages(runs)}
        return cls(folders, items(runs), sum(record.states().values()), seconds)


def items(runs: Path) -> str:
    """The study's table of results."""
    (file,) = runs.glob("studies/*/items.parquet")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def repeated(runs: Path) -> tuple[float, int]:
    """Stage-seconds and training steps that had to be done again, by the ledger's account of all attempts."""
    with closing(sqlite3.connect(f"file:{runs / 'ledger.db'}?mode=ro", uri=True, timeout=20)) as database:
        seconds, steps = database.execute("select total(lost_s), total(lost_steps) from attempt").fetchone()
    return seconds, int(steps)


def broken_stages(runs: Path, truth: Truth) -> list[str]:
    """Stages that the ledger calls done and that are not, or not the same."""
    problems = []
    for stage in stages(runs):
        folder = runs / "stages" / stage.key
        if stage.key not in truth.folders:
            problems.append(f"{stage.label} has another key than undisturbed; did the code change meanwhile?")
        elif stage.state == "done" and not folder.is_dir():
            problems.append(f"{stage.label} is recorded as done, but has no folder")
        elif folder.is_dir() and (found := content(folder)) != truth.folders[stage.key]:
            expected = truth.folders[stage.key]
            names = sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n))
            problems.append(f"{stage.label}: {', '.join(names)} differ from the undisturbed run's")
    return problems


def unfinished(runs: Path, truth: Truth) -> list[str]:
    """What is wrong with a study that says it is complete."""
    done = {stage.key for stage in stages(runs) if stage.state == "done"}
    problems = [f"stage {key} is missing" for key in truth.folders.keys() - done]
    if items(runs) != truth.items:
        problems.append("the table of results differs from the undisturbed run's")
    return problems + [f"{path.relative_to(runs)} was left behind" for path in leftovers(runs)]


def leftovers(runs: Path) -> list[Path]:
    """Files and folders that nobody needs once the study is complete."""
    hidden = [p for p in runs.rglob(".*") if p.suffix != ".lock" and not p.name.endswith(".db.lock")]
    partial = [*runs.rglob("*.partial"), *runs.rglob("*.tmp")]
    return sorted({*hidden, *partial, *(runs / "train").glob("*"), *(runs / "live").glob("*")})


class Runs:
    """The runs that the MLflow server knows."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)

    def _all(self) -> list[Any]:
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, max_results=1000))

    def states(self) -> Counter[str]:
        return Counter(run.info.status for run in self._all())

    def duplicates(self, expected: int) -> list[str]:
        keys = Counter(run.data.tags.get("deepblur.key", run.info.run_id) for run in self._all())
        problems = [f"{count} MLflow runs have the key {key}" for key, count in keys.items() if count > 1]
        if len(keys) != expected:
            problems.append(f"MLflow has {len(keys)} runs of this study, and {expected} of the undisturbed one")
        return problems

    def clear(self) -> None:
        """Delete every run, so that the next study records its own."""
        for run in self._all():
            self.client.delete_run(run.info.run_id)
