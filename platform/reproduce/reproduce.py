"""`deepblur reproduce RUN_ID`: make a recorded run again from its record alone, or say which ingredient is missing.

The run's study is carried out anew in a folder of its own, by the source that the record names: the one that is
installed if it is the same, else a git worktree of the commit with the uncommitted difference applied. Code that is
neither installed nor the user's own is run only if the user says so. The original record is only read. Metrics and the
hashes of weights and rows must then be equal to the last bit.
"""

import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from deepblur.platform.experiment.provenance import FILE, Json, argv, part_of
from deepblur.platform.report.table import aligned
from deepblur.platform.reproduce.recorded_run import read_run
from deepblur.platform.reproduce.requirements import Requirement, Requirements
from deepblur.platform.system import child
from deepblur.platform.system.disk import denied
from deepblur.platform.system.printable import printable
from deepblur.platform.system.whole_files import replace_file
from deepblur.platform.tracking.connection import default_runs, default_uri

MARK = "reproduction.json"
REPRODUCED, DIFFERS, MISSING = 0, 1, 2
"""Exit codes."""
RAY = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""What a study needs of the user's secrets: to get onto the user's cluster."""
SHOWN = 12
"""Values that differ are listed up to this many."""


@dataclass(frozen=True)
class Value:
    """One thing that the run ended with: a metric, or the hash of a file."""

    name: str
    recorded: float | str
    reproduced: float | str | None

    @property
    def same(self) -> bool:
        a, b = self.recorded, self.reproduced
        return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Under which conditions a run is made again."""

    tracking_uri: str | None = None
    """Where it is recorded; None: MLFLOW_TRACKING_URI, else the database in the runs folder."""
    runs: Path | None = None
    """New folder for the results; None: a temporary one."""
    data: str | None = None
    """Where the recorded images lie now, such as folder:ROOT."""
    test: str | None = None
    """The same of the test images."""
    local: bool = False
    """Without Ray where the run had one worker."""
    check: bool = False
    """Compare the ingredients and run nothing."""
    source: Path | None = None
    """The user's own copy of the deepblur that recorded the run."""
    trust: bool = False
    """Run what the record brings along if it is not the installed deepblur."""
    anyway: bool = False
    """Run even if an ingredient differs."""


@dataclass(frozen=True)
class Reproduction:
    """What came of making a run again."""

    run_id: str
    """MLflow's."""
    ingredients: list[Json]
    """The `Requirement`s, as users know them."""
    values: list[Json]
    """What the run ended with, recorded and reproduced, and whether both are the same."""
    verdict: str
    """In a sentence."""
    exit_code: int
    """REPRODUCED, DIFFERS or MISSING."""


def reproduce(run_id: str, conditions: Conditions | None = None, *, out: TextIO | None = None) -> Reproduction:
    """Make a recorded run again and compare it with its record, to the last bit.

    Args:
        run_id: MLflow's id of a study's run, or of one of its child runs.
        conditions: where its parts are and what may be run.
        out: gets the tables and what the study says; default: standard output.
    Returns:
        What was compared, and the exit code that the command would have; what cannot be made again raises nothing.
    """
    conditions, out = conditions or Conditions(), out or sys.stdout
    ingredients: list[Json] = []
    values: list[Json] = []
    try:
        with ExitStack() as stack:
            code, verdict = _reproduce(run_id, conditions, stack, ingredients, values, out)
    except (ValueError, OSError, RuntimeError) as error:
        code, verdict = MISSING, f"error: {denied(error) if isinstance(error, OSError) else error}"
    return Reproduction(run_id, ingredients, values, printable(verdict), code)


def _reproduce(
    run_id: str, asked: Conditions, stack: ExitStack, ingredients: list[Json], values: list[Json], out: TextIO
) -> tuple[int, str]:
    """(exit code, verdict); what is found on the way is added to the lists, so that it outlasts a failure."""
    record = read_run(run_id, asked.tracking_uri or default_uri(default_runs()))
    scratch = asked.runs or stack.enter_context(tempfile.TemporaryDirectory(prefix="deepblur-reproduction-"))
    runs = _claim(Path(scratch).expanduser().resolve(), record.run_id)
    requirements = Requirements(record, runs, stack, asked.source)
    found = requirements.look(data=asked.data, test=asked.test, local=asked.local)
    ingredients += [asdict(requirement) for requirement in found]
    print(f"run {record.run_id}, {printable(record.name)}\n\n{_table(found)}\n", file=out, flush=True)
    missing, other = ([i.name for i in found if i.verdict == verdict] for verdict in ("missing", "differs"))
    if missing or requirements.study is None:
        return MISSING, f"not to be reproduced here: {', '.join(missing)} missing"
    untrusted = "" if asked.trust else _untrusted(requirements)
    if asked.check:
        here = f"every ingredient is here{untrusted and '; without --trust it is ' + untrusted}"
        return (DIFFERS, f"differs: {', '.join(other)}") if other else (REPRODUCED, here)
    if untrusted:
        return MISSING, untrusted
    if other and not asked.anyway:
        return DIFFERS, f"not run, for it differs: {', '.join(other)}; --anyway runs it nevertheless"
    compared = compare(record.provenance, _carry_out(requirements, out))
    values += [{**asdict(value), "same": value.same} for value in compared]
    print(f"\n{_comparison(compared)}\n", file=out, flush=True)
    different = [value for value in compared if not value.same]
    if different:
        return DIFFERS, f"differs: {len(different)} of {len(compared)} values" + _how_far(different)
    return REPRODUCED, "reproduced bit for bit" + (f", though it differs: {', '.join(other)}" if other else "")


def _untrusted(requirements: Requirements) -> str:
    """Why a run is refused that would carry out what others may have written; "" where all of it is the user's."""
    if not requirements.foreign:
        return ""
    return (
        f"not run, for it would run code that is not of this deepblur: {'; '.join(requirements.foreign)}. Whoever "
        "can write to the record may have put it there. Look at it first (mlflow artifacts download -d FOLDER -r "
        f"{shlex.quote(requirements.record.home)}), then give --trust, or name your own copy of that deepblur with "
        "--source"
    )


def _claim(runs: Path, run_id: str) -> Path:
    """A folder in which nothing was done before, but for an earlier attempt at the same."""
    mark = runs / MARK
    wanted = json.dumps({"run_id": run_id}).encode()
    if (runs / "ledger.db").exists() and not (mark.is_file() and mark.read_bytes() == wanted):
        raise ValueError(f"{runs} holds results, which would be reused; give --runs a folder that is new")
    runs.mkdir(parents=True, exist_ok=True)
    replace_file(mark, wanted)
    return runs


def _carry_out(requirements: Requirements, out: TextIO) -> Json:
    """Run the study in a process of its own; its provenance.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, str(requirements.study), *argv(requirements.options)]
    command += ["--runs", str(requirements.runs), "--tracking-uri", "none"]
    path = [*map(str, requirements.path), os.environ.get("PYTHONPATH", "")]
    environment = {**child.environment(*RAY), "PYTHONPATH": os.pathsep.join(filter(None, path))}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print("  | " + line, end="", file=out, flush=True)
    finally:
        if process.poll() is None:
            process.terminate()  # it gives back what it reserved
        process.wait()
    results = list(requirements.runs.glob(f"studies/*/{FILE}"))
    if process.returncode or len(results) != 1:
        raise RuntimeError(f"the study ended with exit code {process.returncode}; the reason stands above")
    return json.loads(results[0].read_text())


def compare(recorded: Json, again: Json) -> list[Value]:
    """Everything that the record says of the run beside what the repetition gave; None where it gave nothing."""
    part = recorded["part"]
    got = _flat(part_of(again["outcome"], part) if part else again["outcome"])
    names = {key: stage["label"] for key, stage in recorded["outcome"]["stages"].items()}
    values = [
        Value(f"{names.get(where, where)}: {name}", value, got.get((where, name)))
        for (where, name), value in _flat(recorded["outcome"]).items()
    ]
    pixels = {role: data["fingerprint"] for role, data in again["data"].items()}
    return [
        *(Value(f"pixels: {role}", data["fingerprint"], pixels.get(role)) for role, data in recorded["data"].items()),
        *values,
    ]


def _flat(outcome: Json) -> dict[tuple[str, str], Any]:
    """(key of a stage or "study", name) → value."""
    flat = {("study", name): value for name, value in outcome["metrics"].items()}
    for key, stage in outcome["stages"].items():
        flat |= {(key, name): value for name, value in {**stage["hashes"], **stage["metrics"]}.items()}
    return flat


def _table(requirements: list[Requirement]) -> str:
    rows = [("ingredient", "recorded", "here", ""), *((i.name, i.recorded, i.here, i.verdict) for i in requirements)]
    return "\n".join(aligned([(a, b, "" if b == c else c, d) for a, b, c, d in rows]))


def _comparison(values: list[Value]) -> str:
    """Every hash, the metrics that differ, and how many are equal."""
    hashes = [value for value in values if isinstance(value.recorded, str)]
    metrics = [value for value in values if not isinstance(value.recorded, str)]
    rows = [("result", "recorded", "reproduced", "")]
    for value in [*hashes, *[m for m in metrics if not m.same][:SHOWN]]:
        rows.append((value.name, _short(value.recorded), _short(value.reproduced), "same" if value.same else "differs"))
    same = sum(metric.same for metric in metrics)
    return "\n".join(aligned(rows)) + f"\n{same} of {len(metrics)} metrics are equal to the last bit"


def _short(value: Any) -> str:
    return "nothing" if value is None else value[:16] if isinstance(value, str) else repr(value)


def _how_far(different: list[Value]) -> str:
    far = [
        abs(a - b) / max(abs(a), abs(b))
        for a, b in ((value.recorded, value.reproduced) for value in different)
        if isinstance(a, (int, float)) and isinstance(b, (int, float)) and math.isfinite(a) and math.isfinite(b)
    ]
    return f"; of metrics, by a factor of at most 1 ± {max(far):.1g}" if far else ""
