"""The report of a study of uncertainties: reliability diagram, risk-coverage curve, table of scores."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepblur.platform.arms.uncertainty.result import (
    COVERAGES,
    LEVELS,
    PLACES,
    DoubtResult,
    best_arm,
    contrast_sentences,
    coverage,
    per_draw,
    risk_curve,
    score_table,
)
from deepblur.platform.report.markup import (
    cost_section,
    document,
    estimate,
    figure,
    headings,
    listed,
    numbers,
    pairs,
    table,
    words,
)
from deepblur.platform.report.style import INK, WIDTH_IN, legend, looks, rendered, styled
from deepblur.platform.system.whole_files import replace_file

KEEP = np.linspace(0.05, 1.0, 39)


def write_doubt(result: DoubtResult, folder: Path) -> Path:
    """report.html, scores.csv, items.parquet and the figures as files; the path of the report."""
    scores = score_table(result)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    replace_file(folder / "scores.csv", scores.to_csv(index=False).encode())
    replace_file(folder / "items.parquet", result.items.to_parquet(index=False))
    svgs = {}
    for name, drawn in {"reliability": reliability(result), "risk-coverage": risk_coverage(result)}.items():
        files = rendered(drawn)
        for kind, content in files.items():
            replace_file(folder / "figures" / f"{name}.{kind}", content)
        svgs[name] = files["svg"].decode()
    return replace_file(folder / "report.html", _page(result, scores, svgs).encode())


@styled
def reliability(result: DoubtResult) -> Figure:
    """Observed against nominal coverage, a panel for each side of the trained range."""
    places = [place for place in PLACES if (result.items["place"] == place).any()]
    drawing = Figure(figsize=(WIDTH_IN, 3.4))
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
def risk_coverage(result: DoubtResult) -> Figure:
    """Error of the draws that are kept when the least certain ones are refused, all test draws together."""
    drawing = Figure(figsize=(WIDTH_IN, 3.2))
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


def sentences(result: DoubtResult, scores: pd.DataFrame) -> list[str]:
    """The verdict in words, with its figures."""
    best = best_arm(scores)
    asked = contrast_sentences(result)
    inside = scores[scores["place"] == "inside"].set_index("arm")
    row = inside.loc[best]
    said = [
        *asked,
        f"Within the trained range {best} is best: {row['nll']:.2f} nats of surprise per coefficient, "
        f"{100 * row['coverage_90']:.0f} % of the errors within its 90 % intervals, rank correlation of stated and "
        f"actual error {row['spearman']:.2f}.",
    ]
    for arm, other in inside.iterrows():
        if arm != result.reference:
            sure = other["gain_high"] < 0 or other["gain_low"] > 0
            said.append(
                f"{arm} against {result.reference}: {other['gain']:+.2f} nats [{other['gain_low']:+.2f}, "
                f"{other['gain_high']:+.2f}]{'' if sure else ', which may be chance'}."
            )
    if (scores["place"] == "beyond").any():
        outside = scores[scores["place"] == "beyond"].set_index("arm").loc[best]
        said.append(
            f"Beyond the trained range {100 * outside['coverage_90']:.0f} % of the errors lie in the 90 % intervals of "
            f"{best}; {100 * outside['flagged']:.0f} % of these images are flagged, {100 * row['flagged']:.0f} % of "
            "those within it."
        )
    return said


def _page(result: DoubtResult, scores: pd.DataFrame, svgs: dict[str, str]) -> str:
    body = []
    for row in scores.to_dict("records"):
        cells = words(row["arm"]) + words(PLACES[row["place"]]) + numbers(f"{row['draws']:,}", f"{row['nll']:.2f}")
        cells += estimate(row["gain"], row["gain_low"], row["gain_high"], 2, True)
        cells += numbers(*(f"{100 * row[f'coverage_{100 * c:.0f}']:.0f}" for c in COVERAGES))
        cells += numbers(f"{row['ece']:.3f}", f"{row['spearman']:.2f}", f"{row['rmse_waves']:.4f}")
        body.append((cells + numbers(f"{100 * row['flagged']:.0f}"), "first" if row["arm"] == result.arms[0] else ""))
    head = headings("answer", "draws from", numeric=False) + headings("draws", "−log likelihood")
    head += headings(f"to {result.reference}", span=2) + headings(*(f"{100 * c:.0f} %" for c in COVERAGES))
    head += headings("calibration error", "rank correlation", "rms error (waves)", "flagged (%)")
    caption = (
        "Errors of every coefficient of γ̂ towards the nearer twin, on test draws. −log likelihood in nats per "
        "coefficient (errors in units of 0.01 waves), with the paired difference and its 95 % interval over images; "
        "observed coverage of the nominal intervals; mean distance of observed and nominal coverage; rank correlation "
        "of the stated deviation with the size of the error."
    )
    plots = figure(
        svgs["reliability"][svgs["reliability"].index("<svg") :],
        "Reliability: share of errors within the stated intervals. Below the diagonal an answer is too sure of itself.",
    )
    plots += figure(
        svgs["risk-coverage"][svgs["risk-coverage"].index("<svg") :],
        "What is gained by refusing the draws that an answer is least sure of. An answer that knows its errors falls "
        "to the left as the dashed line of the reference's estimates does; one that does not stays level.",
    )
    return document(
        result.title,
        f"Study {result.name}, preset {result.preset}",
        pairs(result.abstract),
        {
            "Verdict": listed(sentences(result, scores)),
            "Diagrams": plots,
            "Scores": table(head, body, caption),
            "What it cost": cost_section(result.cost),
            "Provenance": pairs({"Command": result.command, **result.facts}),
        },
    )
