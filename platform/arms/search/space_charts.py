"""The charts of a search's settings: slices, the two that matter most, and parallel coordinates.

A numeric setting has a numeric axis, logarithmic where its range says so; any other has a place per value, and a
conditional one shows the trials that have it; parallel coordinates keep a place "absent" for the others.
"""

import textwrap
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepblur.platform.arms.search.charts import BEST, CUT, DEFAULT, FAILED, log_axis, points, within_reach
from deepblur.platform.arms.search.importance import importances, numeric
from deepblur.platform.arms.search.result import Objective, SearchResult, best_trial, plain
from deepblur.platform.arms.search.text import default_trial, number, value_text
from deepblur.platform.report.style import INK, WIDTH_IN, legend, styled

_FIELD_TRIALS = 20
"""Complete trials from which on a field between the points says more than the points."""
_AXES = 10
"""Axes of the parallel coordinates that one can still read."""
_MAP = "viridis"


@dataclass(frozen=True)
class Scale:
    """Where the values of one setting lie on an axis."""

    name: str
    levels: tuple[Any, ...]
    """All values in order, if each has a place of its own; empty for a numeric axis."""
    log: bool = False
    integer: bool = False

    @classmethod
    def of(cls, result: SearchResult, name: str) -> "Scale":
        values = [plain(settings[name]) for settings in result.settings if name in settings]
        if name in result.defaults:
            values.append(plain(result.defaults[name]))
        if numeric(values):
            whole = all(isinstance(value, int) for value in values)
            log = "logarithmic" in result.space.get(name, "") and min(values) > 0
            return cls(name, (), log, whole and not log)
        return cls(name, tuple(_ordered(values)))

    def place(self, value: Any) -> float:
        """The value itself, or the number of its place."""
        return float(self.levels.index(plain(value))) if self.levels else float(value)

    def linear(self, value: Any) -> float:
        """The place on an axis without a scale of its own."""
        return float(np.log10(self.place(value))) if self.log else self.place(value)

    def apply(self, axes: Axes, which: str) -> None:
        """Set one axis ("x" or "y") up: its scale, ticks and label."""
        axis = axes.xaxis if which == "x" else axes.yaxis
        if self.levels:
            texts = [value_text(level) for level in self.levels]
            slanted: dict[str, Any] = (
                {"rotation": 30, "ha": "right"} if which == "x" and sum(map(len, texts)) > 20 else {}
            )
            axis.set_ticks(range(len(self.levels)), texts, **slanted)
            (axes.set_xlim if which == "x" else axes.set_ylim)(-0.5, len(self.levels) - 0.5)
        elif self.log:
            log_axis(axes, which)
        else:
            axis.set_major_locator(MaxNLocator(5, integer=self.integer))
        axis.set_label_text(self.name)


def _ordered(values: list[Any]) -> list[Any]:
    """Each value once, in its own order where there is one: mixed kinds go by their text."""
    try:
        return sorted(set(values))
    except TypeError:
        return sorted(set(values), key=str)


def shown_settings(result: SearchResult) -> list[str]:
    """The settings that took more than one value, the most important for the first objective first."""
    table = importances(result)[0]
    ranked = table.loc[table["objective"] == result.objectives[0].name, "setting"].tolist()
    names = dict.fromkeys([*ranked, *result.space, *(name for settings in result.settings for name in settings)])
    tried = {name: {plain(s[name]) for s in result.settings if name in s} for name in names}
    return [str(name) for name in names if len(tried[name]) > 1]


@styled
def slices_plot(result: SearchResult) -> Figure | None:
    """The first objective against each setting, every trial; pruned and failed ones on the lower edge."""
    names = shown_settings(result)
    if not names or result.scored.empty:
        return None
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 1.75 * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.ravel()[len(names) :]:
        axes.set_axis_off()
    colours = mpl.colors.Normalize(0, max(1, result.trials["number"].max()))
    for axes, name in zip(grid.ravel(), names, strict=False):
        _slice(axes, result, Scale.of(result, name), colours)
    for panels in grid:
        panels[0].set_ylabel(textwrap.fill(result.objectives[0].label, 28))
    shades = mpl.cm.ScalarMappable(colours, _MAP)
    figure.colorbar(shades, ax=list(grid.ravel()), label="trial number", pad=0.01, aspect=14 * lines)
    legend(figure, grid.ravel(), [*result.arms, "best", "default", "pruned", "failed"])
    return figure


def _slice(axes: Axes, result: SearchResult, scale: Scale, colours: mpl.colors.Normalize) -> None:
    values = within_reach(result)
    have = [row for row, settings in enumerate(result.settings) if scale.name in settings]
    place = pd.Series({row: _jittered(result, scale, row) for row in have})
    scored = result.scored[result.scored.index.isin(have)]
    for arm, look in points(result.arms).items():
        here = scored[scored["arm"] == arm]
        _scatter(axes, place[here.index], values[here.index], here["number"], colours, arm, look["marker"])
    for state, colour in (("pruned", CUT), ("failed", FAILED)):
        x = place[[row for row in have if result.trials["state"][row] == state]]
        if len(x):
            edge = axes.get_xaxis_transform()
            axes.plot(x, np.full(len(x), 0.03), "|", color=colour, markersize=7, transform=edge, label=state)
    for label, (row, look) in _marked(result).items():
        if row in scored.index:
            axes.plot(place[row], values[row], label=label, **look)
    scale.apply(axes, "x")
    axes.margins(x=0.08, y=0.12)


def _scatter(
    axes: Axes, x: Any, y: Any, values: Any, colours: mpl.colors.Normalize, arm: str, marker: str, shades: str = _MAP
) -> None:
    look: dict[str, Any] = {"marker": marker, "s": 22, "linewidths": 0.4, "edgecolors": INK, "zorder": 3}
    axes.scatter(x, y, c=values, cmap=shades, norm=colours, label=arm, **look)


def _map(objective: Objective) -> str:
    """Bright is good, whichever way that is."""
    return _MAP if objective.direction == "maximize" else f"{_MAP}_r"


def _marked(result: SearchResult) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name of a trial to point out → its row and the look of its mark, where it is complete."""
    found = {"best": (best_trial(result), BEST), "default": (default_trial(result), DEFAULT)}
    return {label: (trial.name, look) for label, (trial, look) in found.items() if trial is not None}


def _jittered(result: SearchResult, scale: Scale, row: int, step: float = 0.755) -> float:
    """Trials of one value are set apart only to be seen, the same way each time."""
    place = scale.place(result.settings[row][scale.name])
    return place + 0.5 * ((result.trials["number"][row] * step) % 1 - 0.5) if scale.levels else place


@styled
def contour_plot(result: SearchResult) -> Figure | None:
    """The first objective over the two most important settings of those that all trials have; between the points,
    where they are many, a local mean."""
    have = list(result.scored.index)
    names = [name for name in shown_settings(result) if all(name in result.settings[row] for row in have)][:2]
    if len(names) < 2 or not have:
        return None
    lead, scored = result.objectives[0], result.scored.loc[have]
    x, y = (Scale.of(result, name) for name in names)
    at = np.array([[scale.linear(result.settings[row][scale.name]) for scale in (x, y)] for row in have])
    spots = np.array([[_jittered(result, x, row), _jittered(result, y, row, step=0.570)] for row in have])
    values = within_reach(result)[have].to_numpy(float)
    figure = Figure(figsize=(0.72 * WIDTH_IN, 3.5))
    axes = figure.add_subplot()
    colours = mpl.colors.Normalize(values.min(), values.max())
    if len(have) >= _FIELD_TRIALS and not (x.levels or y.levels) and np.ptp(np.c_[at, values], axis=0).all():
        horizontal, vertical, field = _local_mean(at, values)
        grids = [10**line if scale.log else line for scale, line in ((x, horizontal), (y, vertical))]
        axes.contourf(*grids, field, 10, cmap=_map(lead), norm=colours, alpha=0.55, zorder=1)
    for arm, look in points(result.arms).items():
        here = (scored["arm"] == arm).to_numpy()
        _scatter(axes, spots[here, 0], spots[here, 1], values[here], colours, arm, look["marker"], _map(lead))
    for label, (row, look) in _marked(result).items():
        if row in have:
            axes.plot(*spots[have.index(row)], label=label, **look)
    axes.use_sticky_edges = False  # the field would end the axes amid the outermost marks
    axes.margins(0.05)
    x.apply(axes, "x")
    y.apply(axes, "y")
    figure.colorbar(mpl.cm.ScalarMappable(colours, _map(lead)), ax=axes, label=lead.label, pad=0.02)
    legend(figure, [axes], [*result.arms, "best", "default"])
    return figure


def _local_mean(at: np.ndarray, values: np.ndarray, side: int = 60) -> tuple[np.ndarray, np.ndarray, np.ma.MaskedArray]:
    """(x, y, field): a mean weighted by a Gaussian of Scott's width, left blank where less than one trial is near."""
    low, span = at.min(0), np.ptp(at, axis=0)
    unit = (at - low) / span
    width = unit.std(0) * len(unit) ** (-1 / 6)
    line = np.linspace(0, 1, side)
    nodes = np.stack(np.meshgrid(line, line), -1)
    weights = np.exp(-0.5 * (((nodes[:, :, None] - unit) / width) ** 2).sum(-1))
    total = weights.sum(-1)
    field = np.ma.masked_where(total < 1, (weights * values).sum(-1) / total)
    return low[0] + span[0] * line, low[1] + span[1] * line, field


@styled
def parallel_plot(result: SearchResult) -> Figure | None:
    """A line per complete trial through its settings to the first objective, coloured by it; the best in black."""
    names = shown_settings(result)[:_AXES]
    if not names or len(result.scored) < 2:
        return None
    lead = result.objectives[0]
    values = within_reach(result)
    figure = Figure(figsize=(WIDTH_IN, 3.2))
    axes = figure.add_subplot()
    scales = [Scale.of(result, name) for name in names]
    heights = [_heights(result, scale) for scale in scales]
    span = float(np.ptp(values)) or 1.0
    colours = mpl.colors.Normalize(values.min(), values.max())
    best = values.index[values == values.max()] if lead.sign > 0 else values.index[values == values.min()]
    for row in values.sort_values(ascending=lead.direction == "maximize").index:
        line = [*(height.get(row, _ABSENT) for height in heights), (values[row] - values.min()) / span]
        look = (
            {"color": INK, "linewidth": 2.2}
            if row in best
            else {"color": mpl.colormaps[_map(lead)](colours(values[row]))}
        )
        axes.plot(range(len(line)), line, alpha=1 if row in best else 0.75, **({"linewidth": 0.9} | look))
    for i, scale in enumerate(scales):
        _labels(axes, i, _ticks(result, scale), any(row not in heights[i] for row in values.index))
    _labels(axes, len(scales), {0.0: number(values.min()), 1.0: number(values.max())}, False)
    axes.set_xticks(
        range(len(scales) + 1), [*names, textwrap.fill(lead.label, 16)], rotation=20, ha="left", va="bottom"
    )
    axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
    axes.set(yticks=[], xlim=(-0.2, len(scales) + 0.4), ylim=(_ABSENT - 0.06, 1.04))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


_ABSENT = -0.16
"""Height of the place for trials without a conditional setting."""


def _heights(result: SearchResult, scale: Scale) -> dict[int, float]:
    """Row → height between 0 and 1 on the setting's axis; trials without the setting are left out."""
    places = {row: scale.linear(s[scale.name]) for row, s in enumerate(result.settings) if scale.name in s}
    low, high = (0, len(scale.levels) - 1) if scale.levels else (min(places.values()), max(places.values()))
    return {row: (place - low) / ((high - low) or 1) for row, place in places.items()}


def _ticks(result: SearchResult, scale: Scale) -> dict[float, str]:
    """Height → text: every level, or the ends of a numeric axis."""
    if scale.levels:
        return {i / max(1, len(scale.levels) - 1): value_text(level) for i, level in enumerate(scale.levels)}
    values = [plain(settings[scale.name]) for settings in result.settings if scale.name in settings]
    return {0.0: value_text(min(values)), 1.0: value_text(max(values))}


def _labels(axes: Axes, i: int, ticks: dict[float, str], absent: bool) -> None:
    """One vertical axis with its words to the right."""
    axes.plot([i, i], [0, 1], color=INK, linewidth=0.8, zorder=4)
    for height, text in (ticks | ({_ABSENT: "absent"} if absent else {})).items():
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
        axes.annotate(text, (i, height), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6.5, bbox=box,
                      zorder=6)  # fmt: skip
