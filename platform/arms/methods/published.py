"""The paper's claims beside our figures, and an honest word on how they compare."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from deepblur.platform.arms.methods.claims import ANY, CLEAN, HIGHEST_NOISE, Claim
from deepblur.platform.arms.methods.result import MethodsResult
from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.evaluation.paired import mean_interval


@dataclass(frozen=True)
class Verdict:
    """A claim beside our figure for one arm; `ours` is NaN where there is none."""

    claim: Claim
    arm: str
    ours: float
    low: float
    high: float
    draws: int
    outcome: Literal["better", "worse", "as published", "no difference shown", "not comparable"]
    because: str = ""

    @property
    def words(self) -> str:
        return f"{self.outcome} because {self.because}" if self.because else self.outcome

    @property
    def our_figure(self) -> str:
        """Ours with its interval, or an em dash."""
        if not np.isfinite(self.ours):
            return "—"
        width = self.high - self.low  # NaN with one image, zero for seconds
        bounds = f" [{self.claim.written(self.low, self.high)}]" if width > 0 else ""
        return self.claim.written(self.ours) + self.claim.unit + bounds

    @property
    def published_figure(self) -> str:
        bound = "" if self.claim.bound == "=" else f"{self.claim.bound}\u00a0"
        return bound + self.claim.written(self.claim.value) + self.claim.unit


def verdicts(result: MethodsResult, claims: Iterable[Claim]) -> list[Verdict]:
    """Each claim held against each arm that it speaks of; better or worse only where the 95 % interval says so.

    Where the paper prints a bound and our whole interval keeps to it, the verdict is "as published".
    A claim cannot be compared where the study says so, where it has no draw under the claim's condition, or where
    nothing bounds the figure (one image). One at the paper's highest noise is held against every reading of it that the
    study has.
    """
    found = []
    for claim in claims:
        arms = [arm for arm in result.arms if _speaks_of(claim, arm, result.reference)]
        if not arms:
            absent = "the study has no such method"
            found.append(Verdict(claim, "—", np.nan, np.nan, np.nan, 0, "not comparable", absent))
        found += [_verdict(result, read, arm) for read in _readings(claim, result.items) for arm in arms]
    return found


def _readings(claim: Claim, items: pd.DataFrame) -> list[Claim]:
    """The claim for each reading of the highest noise that the items have; as it is where that does not matter."""
    if claim.reading != "":
        return [claim]
    there = [name for name, level in HIGHEST_NOISE.items() if _has(items, level).any()]
    return [replace(claim, reading=name) for name in there] or [claim]


def _has(items: pd.DataFrame, level: NoiseLevel) -> np.ndarray:
    """Which rows have this noise, whatever it is called."""
    return np.isclose(items["gain"], level.gain) & np.isclose(items["noise_std"], level.std)


def _speaks_of(claim: Claim, arm: str, reference: str) -> bool:
    return any(part in arm.lower() for part in claim.arms) if claim.arms else arm == reference


def _verdict(result: MethodsResult, claim: Claim, arm: str) -> Verdict:
    rows, missing = _under_condition(result, claim, arm)
    if missing:
        return Verdict(claim, arm, np.nan, np.nan, np.nan, 0, "not comparable", missing)
    ours, low, high = _figure(rows, claim)
    because = claim.because
    if not because and not np.isfinite([low, high]).all():
        because = "one image gives no interval"
    if because:
        return Verdict(claim, arm, ours, low, high, len(rows), "not comparable", because)
    return Verdict(claim, arm, ours, low, high, len(rows), _outcome(claim, low, high))


def _outcome(
    claim: Claim, low: float, high: float
) -> Literal["better", "worse", "as published", "no difference shown"]:
    if low <= claim.value <= high:
        return "no difference shown"
    above = low > claim.value
    if claim.bound == (">" if above else "<"):
        return "as published"
    return "better" if above == claim.higher_is_better else "worse"


def _under_condition(result: MethodsResult, claim: Claim, arm: str) -> tuple[pd.DataFrame, str]:
    """The arm's scores under the claim's condition, or why there are none."""
    rows = result.scored[result.scored["arm"] == arm]
    rows = rows[rows[claim.metric].notna()]
    if rows.empty:
        return rows, f"{arm} has no such figure"
    low, high = claim.eta_waves
    if claim.eta_waves != ANY:
        there = rows[rows["eta_waves"].between(low - 1e-6, high + 1e-6)]
        if there.empty and claim.because:  # shown for what it is: the study says why it does not compare
            there = rows[rows["eta_waves"] == rows["eta_waves"].max()]
        rows = there
        if rows.empty:
            return rows, f"no draw has η = {low:g}" if low == high else f"no draw has η from {low:g} to {high:.2g}"
    if claim.noise_std == ANY and claim.reading is None:
        return rows, ""
    there, missing = _at_noise(rows, claim)
    if there.empty and claim.because:
        there = rows
    if there.empty:
        return there, missing
    return there[there["noise"] == there.loc[there["noise_std"].idxmax(), "noise"]], ""


def _at_noise(rows: pd.DataFrame, claim: Claim) -> tuple[pd.DataFrame, str]:
    """The rows with the claim's noise, and what to say where there is none."""
    if claim.reading is not None:
        there = rows[_has(rows, HIGHEST_NOISE[claim.reading])] if claim.reading else rows.iloc[:0]
        return there, "no draw has the paper's highest noise in any reading of it"
    low, high = claim.noise_std
    there = rows[rows["noise_std"].between(low, high)]
    if claim.noise_std == CLEAN:
        return there[there["gain"] == 0], "no draw is free of noise"
    return there, f"no draw has a noise of standard deviation {low:g} or so"


def _figure(rows: pd.DataFrame, claim: Claim) -> tuple[float, float, float]:
    """Our figure with its 95 % interval; the median of seconds has no width, for it is this machine's."""
    values: Sequence[float] | pd.Series = rows[claim.metric]
    if claim.metric == "seconds":
        median = float(np.median(values))
        return median, median, median
    if claim.share_below is not None:
        values = (rows[claim.metric] < claim.share_below).astype(float)
    found = mean_interval(values, rows["image"], np.random.default_rng(0), seeds=rows["seed"])
    floor = 0.0 if claim.unit.endswith("%") else -np.inf  # an interval may reach beyond what a share or an error can be
    ceiling = 1.0 if claim.share_below is not None else np.inf
    low, high = np.clip([found.low, found.high], floor, ceiling)
    return found.mean, float(low), float(high)
