"""The chart of networks that were trained on different ranges: every arm in a row, every tested level in a column."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepblur.platform.arms.methods.result import MEASURES, MethodsResult, chosen, interval
from deepblur.platform.report.numbers import bracketed, fixed
from deepblur.platform.report.style import INK, styled

_PALE = LinearSegmentedColormap.from_list("pale", ["#ffffff", "#9ecae1"])  # dark enough to rank, pale enough to read on


@styled
def generalisation(result: MethodsResult) -> Figure | None:
    """Mean and interval of each arm at each η (or noise level) of the test, where arms differ in the η (or noise) of
    their training; a frame marks what an arm was trained for, bold type the best of a column."""
    measures = [name for name in ("psf_snr_db", "psnr_gain_db") if len(result.gives(name)) > 1]
    found = _trained_for(result)
    if not measures or found is None:
        return None
    column, tested, trained = found
    arms = sorted(trained, key=lambda arm: trained[arm])
    figure = Figure(figsize=(1.7 + 1.05 * len(tested), 0.3 + len(measures) * (0.55 + 0.36 * len(arms))))
    panels = figure.subplots(len(measures), 1, squeeze=False)[:, 0]
    for axes, name in zip(panels, measures, strict=True):
        rows = [chosen(result.scored, {"arm": arm}) for arm in arms]
        table = np.array([[interval(chosen(row, {column: at}), name) for at in tested] for row in rows])
        _matrix(axes, table, MEASURES[name].decimals, MEASURES[name].signed)
        _frame(axes, [[_covers(column, trained[arm], level) for level in tested.values()] for arm in arms])
        axes.set_title(MEASURES[name].axis)
        axes.set_yticks(range(len(arms)), arms)
        axes.set_xticks(range(len(tested)), [f"{at:g}" if column == "eta_waves" else str(at) for at in tested])
    panels[-1].set_xlabel("tested at η (waves)" if column == "eta_waves" else "tested at noise level")
    return figure


def _trained_for(result: MethodsResult) -> tuple[str, dict[object, float], dict[str, float]] | None:
    """What the arms' trainings differ in: its column, tested levels → their size, arms → the size they were trained
    for; None where they do not differ or one level only was tested."""
    known = {arm: result.trained[arm] for arm in result.arms if arm in result.trained}
    eta, noise = ({arm: sizes[i] for arm, sizes in known.items()} for i in (0, 1))
    if len(set(eta.values())) > 1 and len(result.etas) > 1:
        return "eta_waves", {at: at for at in result.etas}, eta
    if len(set(noise.values())) > 1 and len(result.noises) > 1:
        return "noise", dict(zip(result.noises["noise"], result.noises["noise_std"], strict=True)), noise
    return None


def _covers(column: str, trained: float, tested: float) -> bool:
    """Each η of the test is a range of its own, as in training; a noise level lies inside a range or not."""
    return abs(trained - tested) < 1e-9 if column == "eta_waves" else tested <= trained * (1 + 1e-9)


def _matrix(axes: Axes, table: np.ndarray, decimals: int, signed: bool) -> None:
    """table: (rows, columns, 3), mean and interval of every cell."""
    mean = table[..., 0]
    axes.imshow(mean, cmap=_PALE, aspect="auto")
    best = np.nan_to_num(mean, nan=-np.inf).argmax(0)
    for (row, column), value in np.ndenumerate(mean):
        if np.isnan(value):
            continue
        low, high = table[row, column, 1:]
        bounds = bracketed(low, high, decimals, sign=False) if np.isfinite(low) else ""
        weight = "bold" if row == best[column] else "normal"
        axes.text(
            column, row - 0.16 * bool(bounds), fixed(value, decimals, signed), ha="center", va="center", weight=weight
        )
        axes.text(column, row + 0.24, bounds, ha="center", va="center", fontsize=6.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _frame(axes: Axes, trained: list[list[bool]]) -> None:
    for row, cells in enumerate(trained):
        for column, inside in enumerate(cells):
            if inside:
                box = (column - 0.47, row - 0.46)
                axes.add_patch(Rectangle(box, 0.94, 0.92, fill=False, edgecolor=INK, linewidth=1.2))
