"""The charts of what the content of an image does to a score: by category, and by texture.

Each takes the result and returns a Figure, or None with nothing to show. Bars are 95 % intervals.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepblur.platform.arms.methods.charts import bars
from deepblur.platform.arms.methods.result import MEASURES, MethodsResult, interval
from deepblur.platform.report.style import INK, WIDTH_IN, legend, looks, styled


@styled
def by_category(result: MethodsResult, *, min_images: int = 5, measure: str = "") -> Figure | None:
    """The reference's score by the category of what an image shows; an image counts in each of its categories."""
    measure = measure or next(
        (name for name in ("psf_snr_db", "psnr_gain_db") if result.reference in result.gives(name)), ""
    )
    if not measure:
        return None
    scored = result.scored[result.scored["arm"] == result.reference]
    labels = scored["categories"].fillna("").str.split(";")
    rows = scored.assign(category=labels).explode("category")
    rows = rows[rows["category"].str.strip() != ""]
    counts = rows.groupby("category")["image"].nunique()
    groups = {str(name): rows[rows["category"] == name] for name in counts.index[counts >= min_images]}
    if not groups:
        return None
    found = {name: interval(group, measure) for name, group in groups.items()}
    names = sorted(found, key=lambda name: found[name][0])
    figure = Figure(figsize=(0.7 * WIDTH_IN, 0.9 + 0.17 * len(names)))
    axes = figure.add_subplot()
    for y, name in enumerate(names):
        mean, low, high = found[name]
        axes.errorbar(mean, y, xerr=bars(mean, low, high), fmt="o", color=INK, capsize=1.5, linewidth=1)
    mean, low, high = interval(scored, measure)
    axes.axvline(mean, color=INK, linewidth=0.8, linestyle="--", label="all images")
    axes.set_yticks(range(len(names)), [f"{name} ({counts[name]})" for name in names])
    axes.set(xlabel=f"{MEASURES[measure].axis}, {result.reference}", ylim=(-0.8, len(names) - 0.2))
    axes.grid(axis="y", visible=False)
    legend(figure, [axes], result.arms)
    return figure


@styled
def by_texture(result: MethodsResult, *, bins: int = 4) -> Figure | None:
    """PSF SNR and PSNR gain against the sharp image's local standard deviation and edge density, in bins of images."""
    measures = [name for name in ("psf_snr_db", "psnr_gain_db") if result.gives(name)]
    texture = {"local_std": "local standard deviation (images in [0, 1])", "edge_density": "edge density (share)"}
    images = result.items.groupby("image")[list(texture)].mean()
    columns = [name for name in texture if images[name].nunique() >= 2 * bins]
    if not measures or not columns:
        return None
    figure = Figure(figsize=(WIDTH_IN, 0.8 + 2.0 * len(measures) + 0.1 * len(result.arms)))
    panels = figure.subplots(len(measures), len(columns), squeeze=False, sharex="col", sharey="row")
    for j, column in enumerate(columns):
        bin_of = pd.qcut(images[column], bins, labels=False, duplicates="drop")
        rows = result.scored.assign(bin=result.scored["image"].map(bin_of))
        centres = images[column].groupby(bin_of).median()
        for axes, name in zip(panels[:, j], measures, strict=True):
            _binned(axes, rows, centres, name, result)
        panels[-1, j].set_xlabel(texture[column])
    for axes, name in zip(panels[:, 0], measures, strict=True):
        axes.set_ylabel(MEASURES[name].axis)
    legend(figure, panels.ravel(), result.arms)
    return figure


def _binned(axes: Axes, rows: pd.DataFrame, centres: pd.Series, name: str, result: MethodsResult) -> None:
    arms = result.distinct(name)
    for arm, look in looks(result.arms, result.reference).items():
        if arm in arms:
            here = rows[rows["arm"] == arm]
            mean, low, high = np.array([interval(here[here["bin"] == at], name) for at in centres.index]).T
            shift = 0.012 * float(np.ptp(centres)) * (arms.index(arm) - (len(arms) - 1) / 2)
            x = centres.to_numpy() + shift
            axes.errorbar(x, mean, yerr=bars(mean, low, high), fmt="none", color=look["color"], capsize=1.5)
            axes.plot(x, mean, label=arm, **look)
