"""Learning curves: a figure for the training runs that share a validation measure."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import LogLocator, NullFormatter

from deepblur.platform.report.page import Figure
from deepblur.platform.report.style import ARM_COLOURS, INK, WIDTH_IN, legend, styled

VALIDATION = {  # validation column of a stage → its trivial baseline and the axis label
    "val_psnr_db": ("val_blurry_psnr_db", "PSNR, validation (dB)"),
    "val_psf_snr_db": ("val_mean_psf_snr_db", "PSF SNR, validation (dB)"),
}


def by_measure(curves: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, pd.DataFrame]]:
    """Validation column → the runs that have it, by their labels; under "" those that have none."""
    kinds: dict[str, dict[str, pd.DataFrame]] = {}
    for run, table in curves.items():
        known = [column for column in table if str(column).startswith("val_")]
        measure = next((column for column in VALIDATION if column in known), known[0] if known else "")
        kinds.setdefault(measure, {})[run] = table
    return kinds


def baseline_of(measure: str, runs: Mapping[str, pd.DataFrame]) -> str:
    """The column that a validation measure is held against, where every run has it."""
    baseline = VALIDATION.get(measure, ("", ""))[0]
    return baseline if all(baseline in table for table in runs.values()) else ""


def learning_curves(measure: str, runs: Mapping[str, pd.DataFrame]) -> Figure:
    """Training loss and one validation measure of several runs, if they have one.

    Args:
        runs: label → columns step, loss, the measure and its baseline; a gap is NaN.
    """
    baseline, label = baseline_of(measure, runs), VALIDATION.get(measure, ("", measure))[1]
    dashed = "; dashed, the trivial baseline" * bool(baseline)
    validation = f"; right, {label} on fixed draws{dashed}" * bool(measure)
    caption = f"Training loss over steps{validation}. {len(runs)} training runs."
    return Figure(_drawn(runs, measure, baseline, label), caption)


@styled
def _drawn(runs: Mapping[str, pd.DataFrame], measure: str, baseline: str, label: str) -> Drawing:
    """The baseline is that of the first run: fixed draws give every run of a kind the same."""
    drawing = Drawing(figsize=(WIDTH_IN, 2.6))
    losses, values = drawing.subplots(1, 2)
    values.set_visible(bool(measure))
    for i, (run, table) in enumerate(runs.items()):
        for axes, column in ((losses, "loss"), (values, measure)) if measure else ((losses, "loss"),):
            known = table[["step", column]].dropna()
            axes.plot(known["step"], known[column], color=ARM_COLOURS[i % len(ARM_COLOURS)], label=run)
    if baseline:
        known = next(iter(runs.values()))[["step", baseline]].dropna()
        values.plot(known["step"], known[baseline], "--", color=INK, linewidth=1, label="baseline")
    known = pd.concat([table["loss"].dropna() for table in runs.values()])
    if 0 < 5 * known.min() <= known.max():
        losses.set_yscale("log")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        losses.yaxis.set_major_formatter("{x:g}")  # powers of ten would need the mathematics that STYLE turns off
        losses.yaxis.set_minor_formatter(NullFormatter())
    losses.set(xlabel="step", ylabel="training loss")
    values.set(xlabel="step", ylabel=label)
    legend(drawing, (losses, values), list(runs))
    return drawing
