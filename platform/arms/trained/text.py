"""A study's outcome in words, and as plain text for the job log.

A sentence claims a difference only where the interval excludes zero *and* the test agrees, and says what it rests on.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deepblur.platform.arms.trained.result import StudyResult, interval, paired_table, summary_table
from deepblur.platform.evaluation.paired import compare_to_reference

WIDTH = 110  # columns of a job log
SIGNIFICANT = 0.05
NAMES = {"psnr_db": "PSNR", "ssim": "SSIM", "psf_snr_db": "PSF SNR"}
UNITS = {"psnr_db": " dB", "ssim": "", "psf_snr_db": " dB"}
DECIMALS = {"psnr_db": 3, "ssim": 4, "psf_snr_db": 3}
"""Of a difference between arms, which is finer than the gains themselves."""


def signed(value: float, decimals: int) -> str:
    """+1.23 or −1.23, and 0.00 without a sign; "n/a" where nothing is known."""
    if not np.isfinite(value):
        return "n/a"
    text = f"{value:+.{decimals}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def bracketed(low: float, high: float, decimals: int, sign: bool = True) -> str:
    """[low, high], or words where a single image leaves no interval."""
    if not np.isfinite([low, high]).all():
        return "[no interval]"
    return (
        f"[{signed(low, decimals)}, {signed(high, decimals)}]" if sign else f"[{low:.{decimals}f}, {high:.{decimals}f}]"
    )


def p_text(p: float) -> str:
    """A p value as one reads it; empty where there is none."""
    return "" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one measure says of a study's contrast: first − second."""

    contrast: tuple[str, str]
    label: str
    unit: str = ""
    decimals: int = 2
    higher_is_better: bool = True
    difference: float
    low: float
    high: float
    p: float
    basis: str
    """The size of the sample in words."""

    @property
    def word(self) -> str:
        """Whether the first does better: yes or no where interval and test agree, else not shown."""
        sure = np.isfinite([self.low, self.high]).all() and (self.low > 0 or self.high < 0) and self.p < SIGNIFICANT
        return "not shown" if not sure else "yes" if (self.low > 0) == self.higher_is_better else "no"

    @property
    def sentence(self) -> str:
        first, second = self.contrast
        better = "" if self.higher_is_better else " (lower is better)"
        unit = f" {self.unit}" * bool(self.unit)
        return (
            f"{self.label}{better}, {first} − {second}: {signed(self.difference, self.decimals)}{unit}, 95 % interval "
            f"{bracketed(self.low, self.high, self.decimals)}, p {_equals(self.p)}, {self.basis}: {self.word}."
        )

    def metrics(self, name: str) -> dict[str, float]:
        """For the record: contrast/NAME/difference, low, high and p; what is not known is left out."""
        found = {part: float(getattr(self, part)) for part in ("difference", "low", "high", "p")}
        return {f"contrast/{name}/{part}": value for part, value in found.items() if np.isfinite(value)}


def answer(
    items: pd.DataFrame, contrast: tuple[str, str], measure: str, *, draw: Sequence[str], cluster: str, **words: Any
) -> Answer | None:
    """The contrast in one measure, from a row per score (arm, seed, the columns `draw`); None without a shared draw.

    Args:
        cluster: column of what is independent, such as the image.
        words: label, unit, decimals and higher_is_better of an Answer.
    """
    first, second = contrast
    rows = items[items["arm"].isin(contrast)]
    if first == second or set(rows["arm"]) != {first, second}:
        return None
    found = compare_to_reference(rows, second, measure, draw=draw, cluster=cluster).iloc[0]
    if not found["n_values"]:
        return None
    figures: dict[str, Any] = {"difference": found["mean"], **{name: found[name] for name in ("low", "high", "p")}}
    counts = {"draws": found["n_values"], "images": found["n_clusters"], "seeds": found["n_seeds"]}
    return Answer(contrast=contrast, **figures, **{"basis": _basis(counts), **words})


def answers_text(contrast: tuple[str, str], answers: Sequence[Answer], arms: Sequence[str]) -> list[str]:
    """The question of the contrast with its answer by the first measure, then each measure in a sentence."""
    first, second = contrast
    if not answers:
        absent = [arm for arm in dict.fromkeys(contrast) if arm not in arms]
        same = "it names one arm twice" if first == second else "they have no score in common"
        why = f"{' and '.join(absent)} not evaluated" if absent else same
        return [f"The contrast {first} − {second} was not compared: {why}."]
    return [question(contrast, answers[0].word), *(one.sentence for one in answers)]


def question(contrast: tuple[str, str], word: str) -> str:
    return f"Does {contrast[0]} do better than {contrast[1]}? {word.capitalize()}."


def contrast_sentences(result: StudyResult, paired: pd.DataFrame) -> list[str]:
    """The verdict on the contrast: primary measure, cells, secondary measures; `paired` is the paired table."""
    first, second = result.contrast
    if paired.empty:
        absent = [arm for arm in result.contrast if arm not in result.arms]
        why = f"{' and '.join(absent)} not evaluated" if absent else "it names one arm twice"
        return [f"The contrast {first} − {second} was not compared: {why}."]
    lead = paired.iloc[0]
    figures: dict[str, Any] = {name: float(lead[name]) for name in ("difference", "low", "high", "p")}
    led = Answer(contrast=result.contrast, label=NAMES[lead["metric"]], basis="", **figures)
    sentences = []
    for metric, rows in paired.groupby("metric", sort=False):
        overall, cells = rows.iloc[0], rows.iloc[1:]
        name, unit, decimals = NAMES[metric], UNITS[metric], DECIMALS[metric]
        sentences.append(
            f"{name}, {first} − {second}: {signed(overall['difference'], decimals)}{unit}, 95 % interval "
            f"{bracketed(overall['low'], overall['high'], decimals)}, p {_equals(overall['p'])}, "
            f"{_basis(overall)}: {_finding(result.contrast, overall)}."
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


def baseline_sentences(result: StudyResult) -> list[str]:
    """Whether IN beats the mean PSF and DN the blurry input, arm by arm, with intervals."""
    sentences = []
    for i, arm in enumerate(result.arms):
        items = result.items[result.items["arm"] == arm]
        basis = _basis({"draws": len(items), "images": items["image"].nunique(), "seeds": items["seed"].nunique()})
        among = "" if len(result.arms) == 1 else f" ({arm})"
        if i == 0 or not result.one_psf:
            gain = interval(items, "psf_snr_db", "mean_psf_snr_db")
            label = "IN" if result.one_psf else f"IN{among}"
            sentences.append(_against(label, "the mean PSF", gain, 2, " dB of PSF SNR", basis))
        gain = interval(items, "psnr_db", "blurry_psnr_db")
        sentences.append(_against(f"DN{among}", "the blurry input", gain, 2, " dB of PSNR", basis))
    return sentences


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
    """The summary and the verdict as aligned plain text, at most 110 columns wide."""
    table = _text_table(result, decimals_less=0)
    if max(map(len, table)) > WIDTH:  # unusually large figures: one decimal less says as much
        table = _text_table(result, decimals_less=1)
    words = [*baseline_sentences(result), *contrast_sentences(result, paired_table(result)), *caveats(result)]
    lines = (line for sentence in words for line in textwrap.wrap(sentence, WIDTH, subsequent_indent="  "))
    title = f"{_cut(result.title, 60)} (preset {_cut(result.preset, 12)}); means [95 % interval]"
    return "\n".join([title, "", *table, "", *lines])


def _text_table(result: StudyResult, decimals_less: int) -> list[str]:
    """Lines of the summary: under each arm one for all draws, each noise level and each η."""
    columns = {
        "PSF SNR (dB)": ("psf_snr_db", 1, False),
        "over mean PSF (dB)": ("psf_gain_db", 1, True),
        "PSNR gain (dB)": ("psnr_gain_db", 2, True),
        "SSIM gain": ("ssim_gain", 3, True),
    }
    lines = [["", "draws", *columns]]
    for arm, rows in summary_table(result).groupby("arm", sort=False):
        lines.append([_cut(str(arm), 40)])
        for row in rows.to_dict("records"):
            lines.append(["  " + _cut(row["level"], 12), str(row["draws"])])
            for name, decimals, sign in columns.values():
                decimals -= decimals_less
                mean = signed(row[name], decimals) if sign else f"{row[name]:.{decimals}f}"
                lines[-1].append(f"{mean} {bracketed(row[f'{name}_low'], row[f'{name}_high'], decimals, sign)}")
    full = [line for line in lines if len(line) > 1]
    widths = [max(len(line[i]) for line in full) for i in range(len(full[0]))]
    rest = ("  ".join(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=False)) for line in lines)
    return [f"{line[0]:{widths[0]}}  {cells}".rstrip() for line, cells in zip(lines, rest, strict=True)]


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


def _against(who: str, baseline: str, gain: tuple[float, float, float], decimals: int, unit: str, basis: str) -> str:
    mean, low, high = gain
    if low > 0:
        claim = f"{who} beats {baseline}"
    elif high < 0:
        claim = f"{who} is worse than {baseline}"
    else:
        claim = f"Not shown that {who} beats {baseline}"
    return f"{claim}: {signed(mean, decimals)}{unit}, 95 % interval {bracketed(low, high, decimals)}, {basis}."


def _basis(row: pd.Series | dict[str, int]) -> str:
    """The size of the sample in words."""
    counted = ((int(row[f"{unit}s"]), unit) for unit in ("draw", "image", "seed"))
    draws, images, seeds = (f"{count:,} {unit}{'s' * (count != 1)}" for count, unit in counted)
    return f"{draws} on {images}, {seeds}"


def _equals(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p) or 'n/a'}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
