"""The report of a tuning study: the tuned settings beside the defaults, and how each search went."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from deepblur.platform.arms.tuning.result import (
    DRAWS,
    TuningResult,
    contrast_sentences,
    tuning_table,
)
from deepblur.platform.report.page import Figure, Section, cost_section
from deepblur.platform.report.style import WIDTH_IN, legend, looks, styled
from deepblur.platform.report.table import Column, Table


def tables(result: TuningResult) -> dict[str, pd.DataFrame]:
    """The files NAME.csv beside the report."""
    trials = [
        {"method": s.method, "noise": s.noise.name, "trial": i, **t["settings"]}
        | {name: value for name, value in t.items() if name not in ("settings", DRAWS)}
        for s in result.searches
        for i, t in enumerate(s.trials)
    ]
    return {"tuning": tuning_table(result), "trials": pd.DataFrame(trials)}


def sections(result: TuningResult) -> list[Section]:
    caption = "Mean PSNR gain over the blurry input on validation images; trial 0 is the published defaults."
    contrast = contrast_sentences(result)
    return [
        Section("Tuned settings", [_settings(result, caption)]),
        Section("The contrast", [contrast] if contrast else []),
        Section("Convergence", [Figure(convergence(result), "Best gain so far of each search.", "convergence")]),
        cost_section(result.cost),
    ]


def tuning_text(result: TuningResult) -> str:
    """The table as plain text: mean PSNR gain over the blurry input on validation images, defaults → tuned."""
    title = f"{result.title} (preset {result.preset}); mean PSNR gain on validation images, dB"
    return "\n".join([title, "", _settings(result).text(), "", *contrast_sentences(result)])


def _settings(result: TuningResult, caption: str = "") -> Table:
    columns = {
        "method": Column("method"),
        "noise": Column("noise"),
        "trials": Column("trials", 0),
        "default_gain_db": Column("defaults, dB", 2, sign=True),
        "tuned_gain_db": Column("tuned, dB", 2, sign=True),
        "seconds": Column("s per image", 2),
        "settings": Column("tuned settings", wrap=True),
    }
    return Table.of(tuning_table(result), columns, caption)


@styled
def convergence(result: TuningResult) -> Drawing:
    """The best gain so far against the trial, one panel per noise level, one line per method."""
    noises = list(dict.fromkeys(search.noise.name for search in result.searches))
    methods = list(dict.fromkeys(search.method for search in result.searches))
    drawing = Drawing(figsize=(WIDTH_IN, 2.6))
    panels = drawing.subplots(1, len(noises), squeeze=False)[0]
    style = looks(methods, methods[0])
    for axes, noise in zip(panels, noises, strict=True):
        for search in result.searches:
            if search.noise.name == noise:
                best = np.maximum.accumulate([trial["psnr_gain_db"] for trial in search.trials])
                axes.plot(range(len(best)), best, label=search.method, **style[search.method])
        axes.set(title=f"noise {noise}", xlabel="trial (0: defaults)")
    panels[0].set_ylabel("best PSNR gain so far (dB)")
    legend(drawing, panels, methods)
    return drawing
