"""The charts of a search's course: convergence, Pareto front, importances, and where pruning cut.

Each takes the result and returns a Figure, or None with nothing to show. Those of the settings are in
`deepblur.platform.arms.search.space_charts`.
"""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from deepblur.platform.arms.search.importance import importances
from deepblur.platform.arms.search.result import SearchResult, best_trial, convergence, pareto
from deepblur.platform.arms.search.text import default_trial
from deepblur.platform.report.numbers import SIGNIFICANT
from deepblur.platform.report.style import ARM_COLOURS, INK, WIDTH_IN, legend, looks, styled

SOFT = "#9a9a9a"
CUT = "#d55e00"
FAILED = "#cc79a7"
_RING: dict[str, Any] = {"color": INK, "linestyle": "none", "zorder": 5, "clip_on": False}
DEFAULT = _RING | {"marker": "*", "markersize": 11, "markerfacecolor": "#f0e442", "markeredgewidth": 0.8}
BEST = _RING | {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.3}


@styled
def convergence_plot(result: SearchResult) -> Figure | None:
    """The best so far, and with two objectives the dominated share, by trials and by compute; a line per run, and
    the mean over the seeds where there are several."""
    if result.scored.empty:
        return None
    curve = convergence(result).assign(minutes=lambda rows: rows["seconds"] / 60)
    lead = result.objectives[0]
    measures = {"best": f"{lead.label},\nbest so far"}
    if len(result.objectives) == 2:
        measures["hypervolume"] = "dominated share\nof the box"
    figure = Figure(figsize=(WIDTH_IN, 0.5 + 2.1 * len(measures)))
    grid = figure.subplots(len(measures), 2, squeeze=False, sharex="col", sharey="row")
    for panels, (measure, label) in zip(grid, measures.items(), strict=True):
        for axes, spent in zip(panels, ("trial", "minutes"), strict=True):
            for arm, look in looks(result.arms, result.arms[0]).items():
                _runs(axes, curve[curve["arm"] == arm], spent, measure, arm, look)
        panels[0].set_ylabel(label)
    default = default_trial(result)
    if default is not None:
        for axes in grid[0]:
            axes.axhline(default[lead.name], color=SOFT, linewidth=0.9, linestyle="--", label="default", zorder=1)
    grid[-1, 0].set_xlabel("trials begun")
    grid[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[-1, 1].set_xlabel("compute spent (min)")
    legend(figure, grid.ravel(), result.arms)
    return figure


def _runs(axes: Axes, curve: pd.DataFrame, spent: str, measure: str, arm: str, look: dict[str, Any]) -> None:
    """One run in steps, marked where they rise; several thin, and by trials their mean over them."""
    look = look | {"drawstyle": "steps-post"}
    runs = [run for _, run in curve.groupby("seed", sort=False)]
    if len(runs) == 1:
        rises = np.flatnonzero(runs[0][measure].ne(runs[0][measure].shift()) & runs[0][measure].notna()).tolist()
        axes.plot(runs[0][spent], runs[0][measure], label=arm, markevery=rises, **look)
        return
    look |= {"marker": "none"}
    for run in runs:
        axes.plot(run[spent], run[measure], **(look | {"linewidth": 0.8, "alpha": 0.45 if spent == "trial" else 0.9}))
    if spent == "trial":
        by_trial = pd.concat([run.set_index("trial")[measure] for run in runs], axis=1, join="inner")
        axes.plot(by_trial.index, by_trial.mean(axis=1, skipna=False), label=arm, **look)


@styled
def pareto_plot(result: SearchResult) -> Figure | None:
    """The first objective against each other one: every complete trial, the front in black, the default marked."""
    lead, *others = result.objectives
    trials = result.scored.dropna(subset=[objective.name for objective in others])
    if not others or trials.empty:
        return None
    front, default, shown = pareto(result), default_trial(result), within_reach(result)
    figure = Figure(figsize=(WIDTH_IN if len(others) > 1 else 0.72 * WIDTH_IN, 3.3))
    panels = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
    for axes, other in zip(panels, others, strict=True):
        for arm, look in points(result.arms).items():
            here = trials[trials["arm"] == arm]
            axes.plot(here[other.name], shown[here.index], label=arm, **look)
        if len(others) == 1:
            line = front.sort_values(other.name)
            where = "steps-post" if other.direction == "minimize" else "steps-pre"
            axes.plot(line[other.name], shown[line.index], color=INK, linewidth=1, drawstyle=where, label="_", zorder=2)
        axes.plot(front[other.name], shown[front.index], "o", color=INK, markersize=3, label="Pareto front", zorder=4)
        if default is not None:
            axes.plot(default[other.name], shown[default.name], label="default", **DEFAULT)
        values = trials[other.name]
        if values.min() > 0 and values.max() > 30 * values.min():
            log_axis(axes, "x")
        axes.set_xlabel(other.label)
    panels[0].set_ylabel(lead.label)
    legend(figure, panels, result.arms)
    return figure


def within_reach(result: SearchResult) -> pd.Series:
    """The first objective of the scored trials; one that is worse than the others by far, as a training that diverged,
    is brought to three interquartile ranges below the middle half, so that it does not hide them."""
    lead = result.objectives[0]
    gain = result.scored[lead.name] * lead.sign
    first, third = gain.quantile([0.25, 0.75])
    return gain.clip(lower=first - 3 * (third - first)) * lead.sign


def log_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers: whole decades, or 1, 2 and 5 of each where there is hardly one. Called
    when everything is drawn."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def points(arms: list[str]) -> dict[str, dict[str, Any]]:
    """Hollow markers by sampler; black is kept for the front and the best."""
    style = looks(["", *arms], "")
    return {arm: style[arm] | {"linestyle": "none", "markerfacecolor": "none"} for arm in arms}


@styled
def importance_plot(result: SearchResult) -> Figure | None:
    """The share of each objective's variance that each setting explains; in grey where a rank test shows no effect."""
    table = importances(result)[0]
    if table.empty:
        return None
    names = [objective for objective in result.objectives if objective.name in set(table["objective"])]
    order = list(dict.fromkeys(table["setting"]))[::-1]
    figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.22 * len(order)))
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True, sharex=True)[0]
    y = np.arange(len(order))
    for axes, objective in zip(panels, names, strict=True):
        rows = table[table["objective"] == objective.name].set_index("setting").reindex(order)
        sure = (rows["p_holm"] < SIGNIFICANT).to_numpy()
        for label, chosen, colour in ((f"p < {SIGNIFICANT:g}", sure, ARM_COLOURS[0]), ("not shown", ~sure, "#d0d0d0")):
            axes.barh(y[chosen], rows["importance"][chosen], height=0.62, color=colour, label=label)
        axes.set(title=textwrap.fill(objective.label, 84 // len(names)), xlabel="share of variance")
        axes.grid(axis="y", visible=False)
    panels[0].set_xlim(0, 1.05 * table["importance"].max())
    conditional = set(table.loc[table["conditional"], "setting"])
    panels[0].set_yticks(range(len(order)), [name + " *" * (name in conditional) for name in order])
    legend(figure, panels, [])
    return figure


@styled
def intermediate_plot(result: SearchResult) -> Figure | None:
    """What the pruner saw, a panel per stage: complete trials, pruned and failed ones up to their end, the best."""
    values = result.intermediate.dropna(subset=["value"])
    if values.empty:
        return None
    stages = list(dict.fromkeys(values["stage"]))
    figure = Figure(figsize=(WIDTH_IN if len(stages) > 1 else 0.72 * WIDTH_IN, 3.0))
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    best = best_trial(result)
    keys = ["arm", "seed", "number"]
    last_stage = values.groupby(keys)["stage"].last()
    lines = values.merge(result.trials[[*keys, "state"]], on=keys)
    for axes, stage in zip(panels, stages, strict=True):
        for key, line in lines[lines["stage"] == stage].groupby(keys, sort=False):
            state, line = line["state"].iloc[0], line.sort_values("step")
            ended = last_stage[key] == stage
            is_best = best is not None and key == tuple(best[keys])
            _intermediate(axes, line, state, ended, is_best)
        axes.set(title=stage, xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set_ylabel("value that the pruner saw")
    legend(figure, panels, ["best", "complete", "pruned", "failed"])
    return figure


def _intermediate(axes: Axes, line: pd.DataFrame, state: str, ended: bool, is_best: bool) -> None:
    look: dict[str, Any] = {
        "best": {"color": INK, "linewidth": 2, "zorder": 4},
        "complete": {"color": SOFT, "linewidth": 0.7, "zorder": 2},
        "pruned": {"color": CUT, "linewidth": 0.9, "zorder": 3, "marker": "x"},
        "failed": {"color": FAILED, "linewidth": 0.9, "zorder": 3, "marker": "s"},
    }["best" if is_best else state]
    end = [len(line) - 1] if ended else []
    axes.plot(line["step"], line["value"], label="best" if is_best else state, markevery=end, **look)
