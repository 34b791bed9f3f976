"""A study's outcome in words, and as plain text for the job log.

A sentence claims a difference only where the interval excludes zero *and* the test agrees, and says what it rests on.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from deepblur.platform.arms.trained.result import GAINS, StudyResult, interval, paired_table, summary_table
from deepblur.platform.evaluation.measure import Measure
from deepblur.platform.report.answer import Answer, question, sample_text
from deepblur.platform.report.numbers import SIGNIFICANT, WIDTH, bracketed, cut, equals, signed
from deepblur.platform.report.table import Column, Table

COMPARED = {
    "psnr_db": Measure("PSNR", "dB", 3),
    "ssim": Measure("SSIM", "", 4),
    "psf_snr_db": Measure("PSF SNR", "dB", 3),
}
"""Measure of the contrast → how a difference between arms is written, which is finer than the gains themselves."""
COLUMNS = {
    "psf_snr_db": Column("PSF SNR (dB)", 1, interval=True),
    "psf_gain_db": Column("over mean PSF (dB)", 1, sign=True, interval=True),
    "psnr_gain_db": Column("PSNR gain (dB)", 2, sign=True, interval=True),
    "ssim_gain": Column("SSIM gain", 3, sign=True, interval=True),
    "oracle_psnr_gain_db": Column("PSNR gain, true γ (dB)", 2, sign=True, interval=True),
}
"""Measure of the summary → its column."""


def compared(result: StudyResult) -> dict[str, Measure]:
    """`COMPARED` with the study's own metrics."""
    return COMPARED | {m.name: replace(m.measure, decimals=m.decimals + 1) for m in result.own_metrics}


def columns_of(result: StudyResult) -> dict[str, Column]:
    """`COLUMNS` with the study's own metrics."""
    return COLUMNS | {m.name: Column(m.measure.axis, m.decimals, interval=True) for m in result.own_metrics}


def contrast_sentences(result: StudyResult, paired: pd.DataFrame) -> list[str]:
    """The verdict on the contrast: primary measure, cells, secondary measures; `paired` is the paired table."""
    first, second = result.contrast
    if paired.empty:
        absent = [arm for arm in result.contrast if arm not in result.arms]
        why = f"{' and '.join(absent)} not evaluated" if absent else "it names one arm twice"
        return [f"The contrast {first} − {second} was not compared: {why}."]
    lead = paired.iloc[0]
    led = _answer(result, lead, compared(result)[str(lead["metric"])])
    sentences, own = [], {metric.name for metric in result.own_metrics}
    for metric, rows in paired.groupby("metric", sort=False):
        overall, cells = rows.iloc[0], rows.iloc[1:]
        measure = compared(result)[str(metric)]
        if metric in own:
            sentences.append(_answer(result, overall, measure).sentence)
            continue
        name, unit, decimals = measure.label, f" {measure.unit}" if measure.unit else "", measure.decimals
        sentences.append(
            f"{name}, {first} − {second}: {signed(overall['difference'], decimals)}{unit}, 95 % interval "
            f"{bracketed(overall['low'], overall['high'], decimals)}, p {equals(overall['p'])}, "
            f"{sample_text(overall)}: {_finding(result.contrast, overall)}."
        )
        if metric == "psnr_db":
            clear = int((cells["p_holm"] < SIGNIFICANT).sum())
            sentences.append(
                f"{clear} of {len(cells)} cells (noise × η) differ in PSNR after Holm's correction for {len(cells)} "
                "comparisons; the intervals of cells are not corrected."
            )
    sentences[0] += f" {question(result.contrast, led.word)}"
    if result.one_psf:
        sentences.append("All arms used the same PSF estimates, so PSF SNR is not compared.")
    return sentences


def _answer(result: StudyResult, row: pd.Series, measure: Measure) -> Answer:
    figures: dict[str, Any] = {name: float(row[name]) for name in ("difference", "low", "high", "p")}
    return Answer(contrast=result.contrast, basis=sample_text(row), **measure.words, **figures)


def baseline_sentences(result: StudyResult) -> list[str]:
    """Whether IN beats the mean PSF and DN the blurry input, with intervals; arms of which the same holds in one."""
    shared = result.one_psf and len(result.arms) > 1
    found = _against(
        "IN", "the mean PSF", "dB of PSF SNR", _gains(result, "psf_gain_db", result.arms[:1] if shared else ())
    )
    return found + _against("DN", "the blurry input", "dB of PSNR", _gains(result, "psnr_gain_db"))


def caveats(result: StudyResult) -> list[str]:
    """What the figures cannot say because the study is small."""
    sentences = []
    if (images := result.items["image"].nunique()) < 6:
        sentences.append(
            f"{images} test image{'s' * (images > 1)}: intervals are wide or absent, and fewer than 6 images cannot "
            f"bring a paired test below p = {SIGNIFICANT}."
        )
    if result.items["seed"].nunique() == 1:
        sentences.append("One training seed: the figures speak of these trained networks, not of training them again.")
    return sentences


def text_summary(result: StudyResult) -> str:
    """The summary and the verdict as aligned plain text, at most 110 columns wide; the report has all of it."""
    table = gains_table(result, measures=[name for name in columns_of(result) if not name.startswith("oracle")],
                        groups=("all", "noise"))  # fmt: skip
    if not table.fits():  # unusually large figures: one decimal less says as much
        fewer = [replace(c, decimals=c.decimals and c.decimals - 1) for c in table.columns]
        table = replace(table, columns=fewer)
    lead, *others = contrast_sentences(result, paired_table(result))
    own = [said for said in others if said.startswith(tuple(metric.measure.label for metric in result.own_metrics))]
    words = [*baseline_sentences(result), lead, *own, *caveats(result)]
    lines = (line for sentence in words for line in textwrap.wrap(sentence, WIDTH, subsequent_indent="  "))
    title = f"{cut(result.title, 60)} (preset {cut(result.preset, 12)}); means [95 % interval]"
    return "\n".join([title, "", table.text(), "", *lines])


def gains_table(
    result: StudyResult, caption: str = "", *, measures: Iterable[str] = (), groups: Iterable[str] = ()
) -> Table:
    """Of each arm a row for all draws, each noise level and each η, or for those of some groups alone."""
    summary = summary_table(result)
    summary = summary[summary["group"].isin(list(groups))] if groups else summary
    columns = {"arm": Column("arm", group=True), "level": Column("subset", least=14), "draws": Column("draws", 0)}
    known = columns_of(result)
    columns |= {name: known[name] for name in measures or known}
    return Table.of(summary, columns, caption, rule="group", bold=summary["group"] == "all")


def _finding(contrast: tuple[str, str], row: pd.Series) -> str:
    """What one row of the paired table shows, no more."""
    low, high, p = row["low"], row["high"], row["p"]
    if row["first"] == row["second"] and row["difference"] == 0:
        return "no difference at all"
    if not np.isfinite([low, high]).all():
        return "one image, so nothing can be concluded"
    if low <= 0 <= high:
        return "no difference shown at this size"
    higher = contrast[0] if low > 0 else contrast[1]
    if p >= SIGNIFICANT:
        return f"the interval favours the arm {higher}, the test does not confirm it: not settled"
    return f"higher for the arm {higher}"


Gain = tuple[float, float, float]


def _gains(result: StudyResult, name: str, arms: Sequence[str] = ()) -> dict[str, tuple[Gain, str]]:
    """Arm, or "" for what all of them share, → the mean of a gain with its interval, and the size of its sample."""
    found = {}
    for arm in arms or result.arms:
        items = result.items[result.items["arm"] == arm]
        basis = sample_text({"draws": len(items), "images": items["image"].nunique(), "seeds": items["seed"].nunique()})
        found["" if arms or len(result.arms) == 1 else arm] = interval(items, *GAINS[name]), basis
    return found


def _against(who: str, baseline: str, unit: str, gains: dict[str, tuple[Gain, str]]) -> list[str]:
    """A sentence for each thing that can be said, with all arms of which it holds."""
    said: dict[tuple[str, str], dict[str, Gain]] = {}
    for arm, (gain, basis) in gains.items():
        claim = "{} beats" if gain[1] > 0 else "{} is worse than" if gain[2] < 0 else "Not shown that {} beats"
        said.setdefault((claim, basis), {})[arm] = gain
    sentences = []
    for (claim, basis), its in said.items():
        arms = f"{who} ({', '.join(its)})" if any(its) else who
        figures = [f"{signed(mean, 2)} {bracketed(low, high, 2)}" for mean, low, high in its.values()]
        sentences.append(
            f"{claim.format(arms)} {baseline}: {' and '.join(figures)} {unit} (95 % interval"
            f"{'s' * (len(its) > 1)}), {basis}."
        )
    return sentences
