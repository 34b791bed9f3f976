"""The report of a study of uncertainties: reliability diagram, risk-coverage curve, table of scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from deepblur.platform.arms.uncertainty.result import (
    COVERAGES,
    LEVELS,
    PLACES,
    UncertaintyResult,
    best_arm,
    contrast_sentences,
    coverage,
    per_draw,
    risk_curve,
    score_table,
)
from deepblur.platform.report.numbers import bracketed, fixed, signed
from deepblur.platform.report.page import Figure, Section, cost_section
from deepblur.platform.report.style import INK, WIDTH_IN, legend, looks, styled
from deepblur.platform.report.table import Column, Table

KEEP = np.linspace(0.05, 1.0, 39)
_SCORES = (
    "Errors of every coefficient of γ̂ towards the nearer twin, on test draws. −log likelihood in nats per "
    "coefficient (errors in units of 0.01 waves), with the paired difference and its 95 % interval over images; "
    "observed coverage of the nominal intervals; mean distance of observed and nominal coverage; rank correlation "
    "of the stated deviation with the size of the error."
)
_SHORT = {"where": "range", "nll": "−log lik.", "ece": "ECE", "spearman": "rank", "rmse_waves": "rmse"}
"""Headings in a log, which is narrow."""
_RELIABILITY = (
    "Reliability: share of errors within the stated intervals. Below the diagonal an answer is too sure of itself."
)
_RISK = (
    "What is gained by refusing the draws that an answer is least sure of. An answer that knows its errors falls "
    "to the left as the dashed line of the reference's estimates does; one that does not stays level."
)


def tables(result: UncertaintyResult) -> dict[str, pd.DataFrame]:
    """The files NAME.csv beside the report."""
    return {"scores": score_table(result)}


def sections(result: UncertaintyResult) -> list[Section]:
    scores = score_table(result)
    said = scores.assign(where=scores["place"].map(PLACES))
    diagrams = [
        Figure(reliability(result), _RELIABILITY, "reliability"),
        Figure(risk_coverage(result), _RISK, "risk-coverage"),
    ]
    return [
        Section("Verdict", [verdict_sentences(result, scores)]),
        Section("Diagrams", diagrams),
        Section("Scores", [Table.of(said, _columns(result), _SCORES, rule="place")]),
        cost_section(result.cost),
    ]


def uncertainty_text(result: UncertaintyResult) -> str:
    """The scores as plain text."""
    scores = score_table(result)
    title = f"{result.title} (preset {result.preset}); errors of γ̂ towards the nearer twin, test draws"
    best = f"best within the trained range: {best_arm(scores)}"
    columns = _columns(result)
    columns |= {name: replace(columns[name], heading=heading) for name, heading in _SHORT.items()}
    table = Table.of(scores.assign(where=scores["place"]), columns)
    return "\n".join([title, "", table.text(), "", best, *contrast_sentences(result)])


def _columns(result: UncertaintyResult) -> dict[str, Column]:
    covered = {f"coverage_{100 * c:.0f}": Column(f"{100 * c:.0f} %", 0, form=_percent) for c in COVERAGES}
    return {
        "arm": Column("answer"),
        "where": Column("draws from"),
        "draws": Column("draws", 0),
        "nll": Column("−log likelihood", 2),
        "gain": Column(f"to {result.reference}", 2, sign=True, interval=True),
        **covered,
        "ece": Column("calibration error", 3),
        "spearman": Column("rank correlation", 2),
        "rmse_waves": Column("rms error (waves)", 4),
        "flagged": Column("flagged (%)", 0, form=_percent),
    }


def _percent(share: float) -> str:
    return fixed(100 * share, 0)


@styled
def reliability(result: UncertaintyResult) -> Drawing:
    """Observed against nominal coverage, a panel for each side of the trained range."""
    places = [place for place in PLACES if (result.items["place"] == place).any()]
    drawing = Drawing(figsize=(WIDTH_IN, 3.4))
    panels = drawing.subplots(1, len(places), squeeze=False, sharey=True)[0]
    style = looks(result.arms, result.reference)
    for axes, place in zip(panels, places, strict=True):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=(0, (2, 2)))
        for arm in result.arms:
            rows = result.items[(result.items["arm"] == arm) & (result.items["place"] == place)]
            observed = coverage(rows["error"].to_numpy(), rows["std"].to_numpy(), LEVELS)
            axes.plot(LEVELS, observed, label=arm, markevery=3, **style[arm])
        axes.set(title=PLACES[place], xlabel="nominal coverage", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    panels[0].set_ylabel("observed coverage")
    legend(drawing, panels, result.arms)
    return drawing


@styled
def risk_coverage(result: UncertaintyResult) -> Drawing:
    """Error of the draws that are kept when the least certain ones are refused, all test draws together."""
    drawing = Drawing(figsize=(WIDTH_IN, 3.2))
    axes = drawing.subplots()
    style = looks(result.arms, result.reference)
    for arm in result.arms:
        rows = result.items[result.items["arm"] == arm]
        errors, stds = per_draw(rows, "error"), per_draw(rows, "std")
        axes.plot(KEEP, risk_curve(errors, stds, KEEP), label=arm, markevery=6, **style[arm])
        if arm == result.reference:
            best = risk_curve(errors, np.abs(errors), KEEP)
            axes.plot(KEEP, best, color=INK, linewidth=0.6, linestyle=(0, (2, 2)), label="if errors were known")
    axes.set(xlabel="share of draws kept, the most certain first", ylabel="error of γ̂ (waves, rms)", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    legend(drawing, [axes], result.arms)
    return drawing


def verdict_sentences(result: UncertaintyResult, scores: pd.DataFrame) -> list[str]:
    """The verdict in words, with its figures."""
    best = best_arm(scores)
    asked = contrast_sentences(result)
    inside = scores[scores["place"] == "inside"].set_index("arm")
    row = inside.loc[best]
    said = [
        *asked,
        f"Within the trained range {best} is best: {fixed(row['nll'], 2)} nats of surprise per coefficient, "
        f"{100 * row['coverage_90']:.0f} % of the errors within its 90 % intervals, rank correlation of stated and "
        f"actual error {fixed(row['spearman'], 2)}.",
    ]
    for arm, other in inside.iterrows():
        if arm != result.reference:
            sure = other["gain_high"] < 0 or other["gain_low"] > 0
            gain = f"{signed(other['gain'], 2)} nats {bracketed(other['gain_low'], other['gain_high'], 2)}"
            said.append(f"{arm} against {result.reference}: {gain}{'' if sure else ', which may be chance'}.")
    if (scores["place"] == "beyond").any():
        outside = scores[scores["place"] == "beyond"].set_index("arm").loc[best]
        said.append(
            f"Beyond the trained range {100 * outside['coverage_90']:.0f} % of the errors lie in the 90 % intervals of "
            f"{best}; {100 * outside['flagged']:.0f} % of these images are flagged, {100 * row['flagged']:.0f} % of "
            "those within it."
        )
    return said
