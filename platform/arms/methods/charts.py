"""The charts of a comparison of methods; each takes the result and returns a Figure, or None with nothing to show.

Bars are 95 % intervals. Those of an image's content are in `content_charts`, the strips of pictures in `strips`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from deepblur.platform.arms.methods.result import MEASURES, MethodsResult, chosen, interval
from deepblur.platform.report.numbers import SIGNIFICANT
from deepblur.platform.report.style import INK, WIDTH_IN, legend, looks, styled

FIVE_PERCENT_DB = 13.0  # −10·log10(0.05), the mean error that the paper states
_FLOOR_DB = -12.0  # a PSF further off than this is drawn at the edge
_MIN_VIOLIN = 8  # draws, below which an estimated density would pretend to know more


@styled
def psf_snr_distribution(result: MethodsResult) -> Figure | None:
    """Every draw's PSF SNR, a row per method and a panel per noise level (the paper's Fig. 4)."""
    arms = result.distinct("psf_snr_db")
    if not arms:
        return None
    noises = _noises_of(result, "psf_snr_db")
    columns = min(len(noises), 4)
    lines = -(-len(noises) // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.5 + lines * (0.5 + 0.32 * len(arms))))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.ravel()[: len(noises)])
    for axes in grid.ravel()[len(noises) :]:
        axes.set_axis_off()
    for axes, noise in zip(panels, noises, strict=True):
        for row, arm in enumerate(arms):
            rows = chosen(result.scored, {"noise": noise, "arm": arm})
            if len(rows):
                _distribution(axes, rows, -row, arm == result.reference)
        axes.axvline(FIVE_PERCENT_DB, color=INK, linewidth=0.8, linestyle="--", label="error of 5 % (13 dB)")
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set(title=f"noise {noise}", xlabel="PSF SNR (dB)", ylim=(0.4 - len(arms), 0.6))
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(-np.arange(len(arms)), arms)
    values = result.scored["psf_snr_db"]
    panels[0].set_xlim(max(_FLOOR_DB, min(-1.0, values.min() - 1)), max(values.max(), FIVE_PERCENT_DB) + 1)
    legend(figure, panels, result.arms)
    return figure


def _distribution(axes: Axes, rows: pd.DataFrame, y: float, is_reference: bool) -> None:
    values = rows["psf_snr_db"].clip(lower=_FLOOR_DB).to_numpy()
    fill = "#8c8c8c" if is_reference else "#d9d9d9"
    if len(values) >= _MIN_VIOLIN and np.ptp(values) > 1e-9:
        parts: Any = axes.violinplot(values, [y], orientation="horizontal", widths=0.8, showextrema=False)
        parts["bodies"][0].set(facecolor=fill, edgecolor=INK, linewidth=0.5, alpha=1)
    else:
        axes.plot(values, np.full(len(values), y), "|", color=INK, markersize=6)
    mean, low, high = interval(rows, "psf_snr_db")
    label = "mean, 95 % interval"
    axes.errorbar(mean, y, xerr=bars(mean, low, high), fmt="D", color=INK, markersize=3.2, markerfacecolor="white",
                  capsize=2, linewidth=1, label=label)  # fmt: skip
    beyond = int((rows["psf_snr_db"] < _FLOOR_DB).sum())
    if beyond:
        axes.annotate(f"◂{beyond}", (0, y), xycoords=("axes fraction", "data"), xytext=(1, 4),
                      textcoords="offset points", fontsize=6.5)  # fmt: skip


@styled
def stability(result: MethodsResult) -> Figure | None:
    """The PSF's error against the noise and against η (the paper's Fig. 5a and b), in per cent on a log axis.

    The typical error is that of the mean SNR in dB, a geometric mean. (a) rests on the η that the networks were
    trained at, where it was evaluated, (b) on the weakest noise. The band holds the reference's middle half of draws.
    """
    arms = result.distinct("psf_snr_db")
    if not arms:
        return None
    trained = [eta for eta in result.etas if result.trained_eta_waves and abs(eta - result.trained_eta_waves) < 1e-9]
    noises = _noises_of(result, "psf_snr_db")
    at_eta: dict[str, object] = {"eta_waves": trained[0]} if trained else {}
    against: dict[str, dict[str, object]] = {"noise_std": at_eta, "eta_waves": {"noise": noises[0]}}
    at = f"η = {trained[0]:g} waves" if trained else "all η"
    titles = {
        "noise_std": {"xlabel": "noise standard deviation (images in [0, 1])", "title": at},
        "eta_waves": {"xlabel": "η (waves)", "title": f"noise {noises[0]}"},
    }
    shown = [column for column in against if result.scored[column].nunique() > 1]  # one value is no dependence
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH_IN, 3.4 + 0.12 * len(arms)))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, shown, strict=True):
        rows = chosen(result.scored, against[column])
        rows = rows.assign(noise_std=rows.groupby("noise")["noise_std"].transform("mean"))
        _errors(axes, rows, column, result)
        axes.axhline(5, color=INK, linewidth=0.8, linestyle="--")
        axes.axhline(10, color=INK, linewidth=0.8, linestyle=":")
        axes.set(**titles[column])
        if column == "eta_waves" and result.trained_eta_waves:
            _mark_trained(axes, result.trained_eta_waves)
    panels[0].set_ylabel("typical error of the PSF, ‖ĥ − h‖² / ‖h‖² (%)")
    _percent_axis(panels[0])
    legend(figure, panels, result.arms)
    return figure


def _mark_trained(axes: Axes, eta: float) -> None:
    axes.axvline(eta, color=INK, linewidth=0.8, linestyle="-.")
    last = eta >= np.mean(axes.get_xlim())
    axes.annotate(
        "trained",
        (eta, 0.99),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if last else 3, 0),
        textcoords="offset points",
        ha="right" if last else "left",
        va="top",
        fontsize=7,
    )


def _errors(axes: Axes, rows: pd.DataFrame, column: str, result: MethodsResult) -> None:
    arms = result.distinct("psf_snr_db")
    for arm, look in looks(result.arms, result.reference).items():
        here = rows[rows["arm"] == arm]
        if arm not in arms or here.empty:
            continue
        groups = here.groupby(column)
        x = np.array(sorted(groups.groups), dtype=float)
        mean, low, high = _percent(np.array([interval(groups.get_group(at), "psf_snr_db") for at in x])).T
        span = np.ptp(rows[column].to_numpy(dtype=float)) or 1.0
        x = x + 0.004 * span * (arms.index(arm) - (len(arms) - 1) / 2)  # bars must not hide bars
        if arm == result.reference and len(x) > 1:
            quartiles = _percent(groups["psf_snr_db"].quantile([0.25, 0.75]).unstack())
            axes.fill_between(x, *quartiles.to_numpy().T, color="#e4e4e4", zorder=1, label=f"{arm}, middle half")
        axes.errorbar(x, mean, yerr=bars(mean, high, low), fmt="none", color=look["color"], capsize=1.5, linewidth=1)
        axes.plot(x, mean, label=arm, **look)


@styled
def noise_dependence(result: MethodsResult) -> Figure | None:
    """PSNR gain, SSIM gain and PSF SNR of every method at every noise level (the paper's Table 1 as a figure)."""
    measures = [name for name in ("psnr_gain_db", "ssim_gain", "psf_snr_db") if result.gives(name)]
    if not measures:
        return None
    summary = result.summary[result.summary["group"] == "noise"]
    levels = result.noises
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 1.9 * len(measures) + 0.1 * len(result.arms)))
    panels = figure.subplots(len(measures), 1, squeeze=False, sharex=True)[:, 0]
    for axes, name in zip(panels, measures, strict=True):
        arms = result.distinct(name)
        for arm, look in looks(result.arms, result.reference).items():
            if arm not in arms:
                continue
            rows = summary[summary["arm"] == arm].set_index("level").reindex("noise " + levels["noise"])
            x = np.arange(len(levels)) + 0.76 * ((result.arms.index(arm) + 0.5) / len(result.arms) - 0.5)
            mean = rows[name].to_numpy()
            ends = bars(mean, rows[f"{name}_low"].to_numpy(), rows[f"{name}_high"].to_numpy())
            axes.errorbar(x, mean, yerr=ends, capsize=1.5, label=arm, **look | {"linestyle": "none"})
        axes.axhline(0, color=INK, linewidth=0.8)
        for edge in np.arange(len(levels) - 1) + 0.5:
            axes.axvline(edge, color="#d4d4d4", linewidth=0.5)
        axes.set(ylabel=MEASURES[name].axis, xlim=(-0.5, len(levels) - 0.5))
        axes.grid(axis="x", visible=False)
    panels[-1].set_xticks(range(len(levels)), [_level(*level) for level in levels.itertuples(index=False)])
    figure.align_ylabels(panels)
    panels[-1].set_xlabel("noise level and its standard deviation σ (images in [0, 1])")
    legend(figure, panels, result.arms)
    return figure


@styled
def differences(result: MethodsResult) -> Figure | None:
    """Every other method minus the reference on the same draws: a row per method, a panel per noise level, a block per
    measure; filled where the test, corrected for the number of methods, agrees."""
    paired = result.paired[
        result.paired["measure"].isin(("psnr_db", "psf_snr_db")) & (result.paired["level"] != "all draws")
    ]
    if paired.empty:
        return None
    noises = [level for level in "noise " + result.noises["noise"] if level in set(paired["level"])]
    arms = {}
    for name in ("psnr_db", "psf_snr_db"):
        compared = set(paired.loc[paired["measure"] == name, "arm"]) & set(result.distinct(name))
        arms[name] = [arm for arm in result.rivals if arm in compared]
    measures = [name for name in arms if arms[name]]
    if not measures:
        return None
    heights = [len(arms[name]) + 1 for name in measures]
    figure = Figure(figsize=(WIDTH_IN, 0.5 * len(measures) + 0.2 * sum(heights)))
    grid = figure.subplots(len(measures), len(noises), squeeze=False, sharex="row", sharey="row", height_ratios=heights)
    for panels, name in zip(grid, measures, strict=True):
        for axes, level in zip(panels, noises, strict=True):
            rows = chosen(paired, {"measure": name, "level": level})
            rows = rows[rows["arm"].isin(arms[name])]
            for row in rows.to_dict("records"):
                fill = INK if row["p_holm"] < SIGNIFICANT and row["in_favour"] else "white"
                ends = bars(row["difference"], row["low"], row["high"])
                axes.errorbar(row["difference"], -arms[name].index(row["arm"]), xerr=ends, fmt="o", color=INK,
                              markerfacecolor=fill, capsize=1.5, linewidth=1)  # fmt: skip
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_title(level)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.set_ylim(0.3 - len(arms[name]), 0.7)
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(-np.arange(len(arms[name])), arms[name])
        panels[len(panels) // 2].set_xlabel(f"{MEASURES[name].label} − {result.reference} ({MEASURES[name].unit})")
    return figure


@styled
def quality_and_time(result: MethodsResult) -> Figure | None:
    """Mean gain against seconds per image; bars: 95 % interval upwards, middle half of the draws sideways."""
    measures = [name for name in ("psnr_gain_db", "psf_snr_db") if result.gives(name)]
    if not measures or not (result.scored["seconds"] > 0).any():
        return None
    figure = Figure(figsize=(WIDTH_IN if len(measures) > 1 else 0.6 * WIDTH_IN, 2.9 + 0.1 * len(result.arms)))
    panels = figure.subplots(1, len(measures), squeeze=False, sharex=True)[0]
    for axes, name in zip(panels, measures, strict=True):
        for arm, look in looks(result.arms, result.reference).items():
            rows = result.scored[(result.scored["arm"] == arm) & (result.scored["seconds"] > 0)]
            if arm not in result.distinct(name) or rows.empty:
                continue
            mean, low, high = interval(rows, name)
            first, median, third = rows["seconds"].quantile([0.25, 0.5, 0.75])
            axes.errorbar(median, mean, yerr=bars(mean, low, high), xerr=bars(median, first, third), label=arm,
                          capsize=1.5, **look | {"linestyle": "none"})  # fmt: skip
        axes.set(xscale="log", xlabel="seconds per image (median)", ylabel=MEASURES[name].axis)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend(figure, panels, result.arms)
    return figure


def _noises_of(result: MethodsResult, measure: str) -> list[str]:
    """Noise levels at which some method has the measure, from weak to strong."""
    known = set(result.scored.loc[result.scored[measure].notna(), "noise"])
    return [noise for noise in result.noises["noise"] if noise in known]


def _level(noise: str, std: float) -> str:
    return f"{noise}\nσ = {std:.2g}" if np.isfinite(std) else noise


def _percent(snr_db: Any) -> Any:
    return 100 * 10 ** (-snr_db / 10)


def _percent_axis(axes: Axes) -> None:
    """A logarithmic axis with plain numbers: 1, 2 and 5 of every decade, or whole decades where these are many."""
    axes.set_yscale("log")
    low, high = np.log10(axes.get_ylim())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 6 else (1,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def bars(mean: Any, low: Any, high: Any) -> Sequence[Any]:
    """Lengths of the bars on both sides, none where there is no interval."""
    sides = np.nan_to_num(np.stack([np.atleast_1d(mean) - low, high - np.atleast_1d(mean)]))
    return sides.clip(min=0)
