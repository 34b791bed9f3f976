"""The gate: whether a candidate may take the champion's place, by measurement alone.

A candidate passes if, on the fixed grid, it restores better than the champion by a paired difference whose 95 %
interval lies above zero, better than doing nothing likewise, is not much slower, and does the same in a clean process.
The first champion is compared with doing nothing alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from deepblur.platform.data.sources import Photos
from deepblur.platform.evaluation.paired import paired_differences
from deepblur.platform.models.model import BlindModel
from deepblur.platform.registry.gate_grid import CELL, PAIR, GateGrid, photograph, score
from deepblur.platform.tracking.connection import first_line

Measure = Callable[[BlindModel, GateGrid], pd.DataFrame]
BLURRY = "the blurry input"
"""The rival of everyone: doing nothing."""


@dataclass(frozen=True, kw_only=True)
class LatencyBound:
    """How slow a candidate may be: `ratio` times the champion, or `free_s` where that is more.

    The ratio is the median over rounds in which both take their turn; where it is above the bound, more rounds must
    confirm it, for another program on the machine can make a round slow. The free seconds: a person who waits for a
    512×512 image, four times the measured one, is to have it within ten seconds from a cold start, of which four are
    spent on starting.
    """

    ratio: float = 1.5
    free_s: float = 1.5
    side_px: int = 256
    rounds: int = 5


@dataclass(frozen=True)
class Check:
    """One condition: name, whether it holds, and a sentence with the figures."""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True)
class Decision:
    """What the gate found.

    candidate, rival: names people read; figures: what `deepblur models list` shows and tags hold; cells: one row per
    cell of the grid; items: one row per observation, of candidate and rival.
    """

    candidate: str
    rival: str
    grid: str
    checks: tuple[Check, ...]
    figures: dict[str, float] = field(default_factory=dict)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    items: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """All that holds, or what does not."""
        return "; ".join(check.sentence for check in self.checks if check.passed == self.passed)

    def as_json(self) -> dict[str, Any]:
        """Everything but the single observations."""
        return {
            "candidate": self.candidate,
            "rival": self.rival,
            "passed": self.passed,
            "reason": self.reason,
            "grid": self.grid,
            "checks": [vars(check) for check in self.checks],
            "figures": self.figures,
            "cells": self.cells.to_dict("records"),
        }


def compare(
    candidate: BlindModel,
    rival: BlindModel | None,
    *,
    names: tuple[str, str],
    grid: GateGrid,
    bound: LatencyBound,
    measure: Measure = score,
) -> Decision:
    """Measure a candidate and its rival on the same observations and the same machine; nothing is written.

    Args:
        rival: None for doing nothing.
        names: of candidate and rival; the second is not used without a rival.
        measure: `score`, or what remembers what it said of a model.
    Raises:
        ValueError, RuntimeError: the rival cannot be measured.
    """
    said = (names[0], names[1] if rival is not None else BLURRY)
    label = f"{grid.name} ({grid.fingerprint()})"
    blind = _blind(candidate)
    if not blind.passed:
        return Decision(*said, label, (blind,))
    try:
        table = measure(candidate, grid)
    except Exception as error:  # whatever a network raises on an image is a reason to refuse it, not to stop
        failed = Check("restores the grid", False, f"it fails on the grid: {first_line(error)}")
        return Decision(*said, label, (failed,))
    lost = int(table["psnr_db"].isna().sum())
    if lost:
        sentence = f"{lost} of {len(table)} restorations are not finite"
        return Decision(*said, label, (Check("restores the grid", False, sentence),), items=table.assign(arm=names[0]))
    nothing = table.assign(psnr_db=table["blurry_psnr_db"], ssim=table["blurry_ssim"], psf_snr_db=np.nan)
    tables = {names[0]: table, BLURRY: nothing}
    if rival is not None:
        tables[names[1]] = measure(rival, grid)
        if tables[names[1]]["psnr_db"].isna().any():
            raise ValueError(f"{names[1]} gives values that are not finite, so nothing can be compared with it")
    items = pd.concat([t.assign(arm=arm) for arm, t in tables.items()], ignore_index=True)
    return _decided(items, said, label, latency(candidate, rival, bound), bound)


def judge(
    candidate: BlindModel,
    champion: BlindModel | None,
    *,
    names: tuple[str, str],
    grid: GateGrid,
    bound: LatencyBound,
    clean: Callable[[], str],
    measure: Measure = score,
) -> Decision:
    """The gate's decision; nothing is written.

    Args:
        clean: loads the candidate in a clean process and returns what went wrong, "" if nothing did.
    Raises: as `compare`.
    """
    found = compare(candidate, champion, names=names, grid=grid, bound=bound, measure=measure)
    if not found.passed:
        return found
    problem = clean()
    sentence = problem or "in a clean process it loads and restores its input example to the same values"
    checks = (*found.checks, Check("clean process", not problem, sentence))
    return Decision(found.candidate, found.rival, found.grid, checks, found.figures, found.cells, found.items)


@dataclass(frozen=True)
class Latency:
    """Medians of seconds for one image on this machine's CPU; ratio: median of candidate over rival, round by round."""

    candidate_s: float
    rival_s: float | None = None
    ratio: float | None = None


def latency(candidate: BlindModel, rival: BlindModel | None, bound: LatencyBound) -> Latency:
    """Time candidate and rival in turn."""
    _, image = photograph(Photos("test", reduce=1), 0)
    y = image[..., : bound.side_px, : bound.side_px]
    models = [candidate] if rival is None else [candidate, rival]
    rounds: list[list[float]] = []
    _seconds(models, y, reverse=False)  # warms up
    while True:
        rounds += [_seconds(models, y, reverse=bool(turn % 2)) for turn in range(bound.rounds)]
        mine, *other = np.array(rounds).T
        if not other:
            return Latency(float(np.median(mine)))
        found = Latency(float(np.median(mine)), float(np.median(other[0])), float(np.median(mine / other[0])))
        if _fast_enough(found, bound).passed or len(rounds) >= 3 * bound.rounds:
            return found


def _seconds(models: Sequence[BlindModel], y: torch.Tensor, reverse: bool) -> list[float]:
    seconds = [0.0] * len(models)
    for i in reversed(range(len(models))) if reverse else range(len(models)):
        started = time.perf_counter()
        models[i].restore(y)
        seconds[i] = time.perf_counter() - started
    return seconds


def _decided(
    items: pd.DataFrame,
    names: tuple[str, str],
    label: str,
    time_taken: Latency,
    bound: LatencyBound,
) -> Decision:
    figures: dict[str, float] = {}
    checks = []
    for key, rival in {"gain": BLURRY, "difference": names[1]}.items():
        found = _difference(items, (names[0], rival))
        figures |= {f"{key}_db": found["mean"], f"{key}_low_db": found["low"], f"{key}_high_db": found["high"]}
        if key == "gain" or rival != BLURRY:
            checks.append(_better(rival, found))
    figures["psf_snr_db"] = float(items.loc[items["arm"] == names[0], "psf_snr_db"].mean())
    if names[1] != BLURRY:
        figures["rival_psf_snr_db"] = float(items.loc[items["arm"] == names[1], "psf_snr_db"].mean())
    figures["latency_s"] = time_taken.candidate_s
    if time_taken.ratio is not None:
        figures["latency_ratio"] = time_taken.ratio
    checks.append(_fast_enough(time_taken, bound))
    return Decision(*names, label, tuple(checks), figures, _cells(items, names), items)


def _blind(model: BlindModel) -> Check:
    held = model.identifier is not None
    return Check("blind", held, "it identifies the blur itself" if held else "it has no identification network")


def _better(rival: str, found: Mapping[str, float]) -> Check:
    low, high = found["low"], found["high"]
    interval = f"{found['mean']:+.3f} dB of PSNR, 95 % interval {low:+.3f} to {high:+.3f}"
    if low > 0:
        return Check(f"better than {rival}", True, f"it restores better than {rival} ({interval})")
    verdict = "restores worse than" if high < 0 else "is not shown to restore better than"
    return Check(f"better than {rival}", False, f"it {verdict} {rival} ({interval})")


def _fast_enough(found: Latency, bound: LatencyBound) -> Check:
    told = f"it takes {found.candidate_s:.3f} s for {bound.side_px}x{bound.side_px} pixels"
    if found.ratio is None:
        return Check("latency", True, told)
    told += f", {found.ratio:.2f} times the champion's"
    if found.ratio <= bound.ratio or found.candidate_s <= bound.free_s:
        return Check("latency", True, told)
    return Check("latency", False, f"{told}; allowed are {bound.ratio:g} times, or {bound.free_s:g} s")


def _difference(items: pd.DataFrame, contrast: tuple[str, str]) -> dict[str, float]:
    rows = items[items["arm"].isin(contrast)]
    return paired_differences(
        rows, contrast=contrast, metric="psnr_db", by=(), pair=(*CELL, *PAIR), rng=np.random.default_rng(0), seed=None
    ).overall


def _cells(items: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Means of every cell: gain over the blurry input, difference from the rival with its interval, PSF SNR."""
    mine = items[items["arm"] == names[0]]
    gains = (mine["psnr_db"] - mine["blurry_psnr_db"]).groupby([mine[c] for c in CELL], sort=False).mean()
    snr = mine.groupby(list(CELL), sort=False)["psf_snr_db"].mean()
    rows = items[items["arm"].isin(names)]
    found = paired_differences(
        rows, contrast=names, metric="psnr_db", by=CELL, pair=PAIR, rng=np.random.default_rng(0), seed=None
    ).cells.set_index(list(CELL))
    parts = {"gain_db": gains, "psf_snr_db": snr}
    parts |= {"difference_db": found["mean"], "low_db": found["low"], "high_db": found["high"]}
    return pd.concat(parts, axis=1).loc[gains.index].reset_index()
