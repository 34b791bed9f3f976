"""What a finished search hands over, and what follows from its trials: the best, the front, who searched better.

Everything here is a function of the table of trials; Optuna and Ray are not needed to read a result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from deepblur.platform.arms.trained.result import StudyResult
from deepblur.platform.experiment.result import Result

RUN = ("arm", "seed")
"""What tells one run of a sampler from the others."""
SECONDARY = ("psnr_gain_db", "psf_snr_db", "ssim_gain", "latency_ms", "gmacs", "parameters")
"""Measures that every complete trial has beside the objectives."""
STATES = ("complete", "pruned", "failed")
_COLUMNS = (*RUN, "number", "state", "reason", "seconds", "seconds_naive")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A column of the trials that the search makes as large or as small as it can."""

    name: str
    direction: Literal["maximize", "minimize"]
    label: str
    """Text of an axis, with the unit: "PSNR gain (dB)"."""

    @property
    def sign(self) -> int:
        """What the column is multiplied with so that more is better."""
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult(Result):
    """A finished search: every trial of every sampler, its settings, what it was scored with and what it cost."""

    objectives: tuple[Objective, ...]
    """The first one decides which trial is the best."""
    trials: pd.DataFrame
    """One row per trial: arm (the sampler), seed, number (from 0, in the order of the suggestions), state (one of
    STATES), reason (text, "" where there is none), seconds (compute seconds of what this trial was the first of its
    run to train or evaluate), seconds_naive (the same had nothing been reused), and each measure: the objectives and
    SECONDARY, NaN unless complete. Indexed 0 … n − 1."""
    settings: tuple[dict[str, Any], ...]
    """Row of `trials` → the searched settings by name, conditional ones absent where they do not apply."""
    intermediate: pd.DataFrame
    """Columns arm, seed, number, stage ("identify" or "deblur"), step, value: what the pruner looked at."""
    space: dict[str, str]
    """Setting → its range as text, such as "1 … 8, integer"; the word "logarithmic" in it makes its axis so."""
    defaults: dict[str, Any]
    """The searched settings' defaults: the configuration that a search must beat."""
    commands: dict[str, str]
    """Arm → the command line that runs its best configuration."""
    final: StudyResult | None
    """The arms "best" and "default" on the test images; None where they were not run."""

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("a search needs an objective; it has none: name one, such as psnr_gain_db")
        missing = [name for name in (*_COLUMNS, *self.measures) if name not in self.trials]
        if missing:
            raise ValueError(f"the trials of a search need a column per measure; {', '.join(missing)} missing: add NaN")
        if list(self.trials.index) != list(range(len(self.settings))):
            raise ValueError(
                f"settings belong to trials row by row, but {len(self.trials)} trials, indexed from "
                f"{next(iter(self.trials.index), 'nothing')}, meet {len(self.settings)} settings: reset the index"
            )
        words = [name for name in self.measures if not pd.api.types.is_numeric_dtype(self.trials[name])]
        if words:
            raise ValueError(f"measures are numbers; {', '.join(words)} is not: write NaN where it is unknown")
        odd = sorted(set(self.trials["state"]) - set(STATES))
        if odd:
            raise ValueError(f"a trial is {', '.join(STATES)}; one is {odd[0]!r}: name its state so")

    @property
    def measures(self) -> tuple[str, ...]:
        """Every measure once: the objectives first."""
        return tuple(dict.fromkeys((*(objective.name for objective in self.objectives), *SECONDARY)))

    @property
    def arms(self) -> list[str]:
        """The samplers, in the order of the table."""
        return list(dict.fromkeys(self.trials["arm"]))

    @property
    def scored(self) -> pd.DataFrame:
        """Complete trials whose first objective is a number, with their place in `settings` as index."""
        return self.trials[(self.trials["state"] == "complete") & self.trials[self.objectives[0].name].notna()]

    @property
    def default_rows(self) -> list[int]:
        """Rows of the trials that ran the default configuration."""
        return [i for i, settings in enumerate(self.settings) if settings and is_default(settings, self.defaults)]

    def runs(self) -> Iterator[tuple[str, int, pd.DataFrame]]:
        """(arm, seed, its trials in the order of their numbers)."""
        for (arm, seed), trials in self.trials.groupby(list(RUN), sort=False):
            yield str(arm), int(seed), trials.sort_values("number")


def is_default(settings: dict[str, Any], defaults: dict[str, Any]) -> bool:
    """Whether every setting of a trial has its default; conditional ones that do not apply are not asked for."""
    return all(name in defaults and plain(defaults[name]) == plain(value) for name, value in settings.items())


def plain(value: Any) -> Any:
    """A list as the tuple that it was before it went through JSON; a NumPy scalar as Python's."""
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def best_trial(result: SearchResult, arm: str | None = None) -> pd.Series | None:
    """The complete trial with the best first objective, of one sampler or of all; its name is its row. The earliest
    of equals; None where no trial is complete."""
    scored = result.scored if arm is None else result.scored[result.scored["arm"] == arm]
    if scored.empty:
        return None
    value = scored[result.objectives[0].name] * result.objectives[0].sign
    return scored.loc[value.idxmax()]


def pareto(result: SearchResult) -> pd.DataFrame:
    """The complete trials that no other one dominates, best first objective first; all objectives must be numbers."""
    trials = result.trials[result.trials["state"] == "complete"].dropna(subset=[o.name for o in result.objectives])
    front = trials[non_dominated(_gains(result, trials))]
    lead = result.objectives[0]
    return front.sort_values(lead.name, ascending=lead.direction == "minimize", kind="stable")


def non_dominated(gains: np.ndarray) -> np.ndarray:
    """(n,) mask of the rows of (n, m) values, more is better, that no other row equals or exceeds everywhere and
    exceeds somewhere. Equal rows stay together."""
    at_least = (gains[:, None] >= gains[None]).all(-1)
    better = (gains[:, None] > gains[None]).any(-1)
    dominated: np.ndarray = np.any(at_least & better, axis=0)
    return ~dominated


def hypervolume(gains: np.ndarray) -> float:
    """Area that (n, 2) points in the unit square, more is better, dominate above its origin."""
    area, height = 0.0, 0.0
    for x, y in sorted(map(tuple, np.clip(gains, 0, 1)), key=lambda point: (-point[0], -point[1])):
        area += x * max(0.0, y - height)
        height = max(height, y)
    return area


def convergence(result: SearchResult) -> pd.DataFrame:
    """How good each run of a sampler was after each of its trials.

    Returns:
        One row per trial: arm, seed, trial (how many were begun, from 1), seconds (compute seconds so far), best (of
        the first objective, NaN before a trial is complete) and hypervolume. With two objectives the latter is the
        share that the trials so far dominate of the box between the worst and the best value of each objective over
        all complete trials, from 0 to 1; with one objective, or more than two, it is NaN. A pruned or failed trial
        costs its seconds and betters nothing.
    """
    unit = _unit_box(result)
    rows = []
    for arm, seed, trials in result.runs():
        value = trials[result.objectives[0].name].where(trials["state"] == "complete") * result.objectives[0].sign
        best = value.cummax().ffill() * result.objectives[0].sign
        seconds = trials["seconds"].fillna(0).cumsum()
        seen: list[np.ndarray] = []
        for i, row in enumerate(trials.index):
            seen += [unit[row]] if row in unit else []
            volume = np.nan if len(result.objectives) != 2 else hypervolume(np.array(seen).reshape(-1, 2))
            known = {"best": best[row], "hypervolume": volume}
            rows.append({"arm": arm, "seed": seed, "trial": i + 1, "seconds": seconds[row], **known})
    return pd.DataFrame(rows, columns=["arm", "seed", "trial", "seconds", "best", "hypervolume"])


def compare_samplers(result: SearchResult) -> pd.DataFrame:
    """The samplers at equal budget, which is what the run with the fewest trials, or seconds, spent.

    Returns:
        One row per budget ("trials", "seconds"), measure ("best", "hypervolume") and arm: budget, its size, measure,
        arm, seeds, values (one per seed), mean and std (ddof 1, NaN with one seed). A run without a complete trial
        within the budget has no best, and its arm no mean.
    """
    curve = convergence(result)
    measures = ["best", "hypervolume"] if len(result.objectives) == 2 else ["best"]
    rows: list[dict[str, Any]] = []
    for budget, column in (("trials", "trial"), ("seconds", "seconds")):
        size = float(curve.groupby(list(RUN))[column].max().min()) if len(curve) else np.nan
        within = curve[curve[column] <= size * (1 + 1e-9)]
        for measure in measures:
            nothing = np.nan if measure == "best" else 0.0
            for arm, runs in curve.groupby("arm", sort=False):
                seeds = list(dict.fromkeys(runs["seed"]))
                last = within[within["arm"] == arm].groupby("seed")[measure].last()
                values = last.reindex(seeds).fillna(nothing).to_numpy(dtype=float)
                spread = float(values.std(ddof=1)) if len(values) > 1 else np.nan
                rows.append(
                    {"budget": budget, "size": size, "measure": measure, "arm": arm, "seeds": len(seeds)}
                    | {"values": tuple(values.tolist()), "mean": float(values.mean()), "std": spread}
                )
    return pd.DataFrame(rows, columns=["budget", "size", "measure", "arm", "seeds", "values", "mean", "std"])


def costs(result: SearchResult) -> pd.DataFrame:
    """What each sampler spent: arm, trials, complete, pruned, failed, seconds, seconds_pruned, seconds_failed,
    seconds_naive, reuse_saved (naive minus spent, where both are known)."""
    rows = []
    for arm, trials in result.trials.groupby("arm", sort=False):
        row: dict[str, Any] = {"arm": arm, "trials": len(trials)}
        row |= {state: int((trials["state"] == state).sum()) for state in STATES}
        row["seconds"] = trials["seconds"].sum()
        row |= {f"seconds_{s}": trials.loc[trials["state"] == s, "seconds"].sum() for s in ("pruned", "failed")}
        row["seconds_naive"] = trials["seconds_naive"].sum()
        row["reuse_saved"] = (trials["seconds_naive"] - trials["seconds"]).sum()
        rows.append(row)
    return pd.DataFrame(rows)


def _gains(result: SearchResult, trials: pd.DataFrame) -> np.ndarray:
    """(trials, objectives), more is better."""
    return np.stack([objective.sign * trials[objective.name].to_numpy(float) for objective in result.objectives], -1)


def _unit_box(result: SearchResult) -> dict[int, np.ndarray]:
    """Row of a complete trial → its objectives, 0 the worst and 1 the best of all; an objective without spread is 1."""
    trials = result.trials[result.trials["state"] == "complete"].dropna(subset=[o.name for o in result.objectives])
    if trials.empty:
        return {}
    gains = _gains(result, trials)
    span = np.ptp(gains, axis=0)
    unit = np.where(span > 0, (gains - gains.min(0)) / np.where(span > 0, span, 1), 1.0)
    return dict(zip(trials.index, unit, strict=True))
