"""The charts of trained networks: the distribution of the draws, means over noise and η, differences of two arms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepblur.platform.arms.trained.result import StudyResult, interval
from deepblur.platform.report.style import ARM_COLOURS, INK, WIDTH_IN, legend, styled


@dataclass(frozen=True)
class _Line:
    """What one line of a figure shows, and how."""

    data: pd.DataFrame
    colour: str = INK
    dash: str = "-"


@styled
def psf_snr_distribution(result: StudyResult) -> Figure:
    """Share of draws whose PSF SNR stays below a value, a panel per noise level."""
    first = result.items[result.items["arm"] == result.arms[0]]
    lines = _lines(result, "psf_snr_db")
    lines["mean PSF"] = _Line(first.assign(value=first["mean_psf_snr_db"]), dash="--")
    figure = Figure(figsize=(WIDTH_IN, 2.6))
    panels = figure.subplots(1, len(result.noises), squeeze=False, sharex=True, sharey=True)[0]
    for axes, noise in zip(panels, result.noises, strict=True):
        for label, line in lines.items():
            values = line.data.loc[line.data["noise"] == noise, "value"]
            if len(values):
                axes.ecdf(values, color=line.colour, linestyle=line.dash, label=label)
        axes.set(title=f"noise {noise}", xlabel="PSF SNR (dB)", ylim=(0, 1.02))
    panels[0].set_ylabel("share of draws")
    legend(figure, panels, list(lines))
    return figure


@styled
def means_by_cell(result: StudyResult) -> Figure:
    """Means with intervals over η: a row per measure, a column per noise level; solid lines show their intervals."""
    first = result.items[result.items["arm"] == result.arms[0]]
    psf = _lines(result, "psf_snr_db")
    psf["trivial baseline"] = _Line(first.assign(value=first["mean_psf_snr_db"]), dash="--")
    gain = _lines(result, "psnr_db", "blurry_psnr_db")
    gain["trivial baseline"] = _Line(first.assign(value=0.0), dash="--")
    for arm, line in _lines(result, "oracle_psnr_db", "blurry_psnr_db").items():
        gain[f"{arm}, true γ"] = replace(line, dash=":")
    rows = {"PSF SNR (dB)": psf, "PSNR gain (dB)": gain}
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 1.9 * len(rows)))
    grid = figure.subplots(len(rows), len(result.noises), squeeze=False, sharex=True, sharey="row")
    for panels, (label, lines) in zip(grid, rows.items(), strict=True):
        panels[0].set_ylabel(label)
        for axes, noise in zip(panels, result.noises, strict=True):
            _cell_means(axes, noise, lines)
    for axes, noise in zip(grid[0], result.noises, strict=True):
        axes.set_title(f"noise {noise}")
    for axes in grid[-1]:
        axes.set_xlabel("η (waves)")
    legend(figure, grid.ravel(), [*psf, *gain])
    return figure


def _cell_means(axes: Axes, noise: str, lines: Mapping[str, _Line]) -> None:
    solid = [name for name, line in lines.items() if line.dash == "-"]
    for name, line in lines.items():
        here = line.data[line.data["noise"] == noise].groupby("eta_waves")
        x = np.array(sorted(here.groups), dtype=float)
        mean, low, high = np.array([interval(here.get_group(eta), "value", None) for eta in x]).T
        if line.dash == "-":
            step = np.diff(x).min(initial=0.05)
            x = x + 0.06 * step * (solid.index(name) - (len(solid) - 1) / 2)  # bars must not hide bars
            axes.errorbar(x, mean, (mean - low, high - mean), fmt="none", color=line.colour)
        mark = "o" if line.dash == "-" else "none"
        axes.plot(x, mean, line.dash, color=line.colour, marker=mark, markersize=3, label=name)
    axes.set_xticks(sorted(next(iter(lines.values())).data["eta_waves"].unique()))


@styled
def forest(rows: pd.DataFrame, label: str) -> Figure:
    """Differences with their intervals, one line per cell; rows has the columns where, difference, low, high."""
    figure = Figure(figsize=(0.8 * WIDTH_IN, 0.7 + 0.22 * len(rows)))
    axes = figure.add_subplot()
    y = np.arange(len(rows))[::-1]
    bars = (rows["difference"] - rows["low"], rows["high"] - rows["difference"])
    axes.errorbar(rows["difference"], y, xerr=bars, fmt="o", markersize=4, color=ARM_COLOURS[0], linewidth=1.4)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(y, list(rows["where"]))
    axes.set(xlabel=label, ylim=(-0.7, len(rows) - 0.3))
    axes.grid(axis="y", visible=False)
    return figure


def _lines(result: StudyResult, measure: str, baseline: str | None = None) -> dict[str, _Line]:
    """A line per arm for a measure of every draw (column value); one black line where the arms share their PSFs."""
    items = result.items.assign(value=result.items[measure] - (0 if baseline is None else result.items[baseline]))
    if measure == "psf_snr_db" and result.one_psf:
        return {"IN": _Line(items[items["arm"] == result.arms[0]])}
    colours = [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(result.arms))]
    return {arm: _Line(items[items["arm"] == arm], colour) for arm, colour in zip(result.arms, colours, strict=True)}
