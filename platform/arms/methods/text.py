"""A comparison of methods in words, and as plain text for the job log.

A sentence says that one method leads another only where the interval excludes zero; where the corrected test does not
agree, it says so.
"""

import textwrap
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from deepblur.platform.arms.methods.published import Verdict, verdicts
from deepblur.platform.arms.methods.result import LOST, OK, MethodsResult, rival_leads
from deepblur.platform.evaluation.measure import Measure
from deepblur.platform.evaluation.paired import DRAW
from deepblur.platform.report.answer import Answer, answer, answers_text
from deepblur.platform.report.numbers import DASH, SIGNIFICANT, WIDTH, bracketed, cut, signed
from deepblur.platform.report.table import Column, Table

_TEXT_COLUMNS = ("psf_snr_db", "psnr_gain_db", "ssim_gain")
_IDEAL_COLUMNS = ("wavefront_error_waves", "psnr_gain_db", "ssim_gain")
_REAL_COLUMNS = ("whiteness",)


def comparison_text(result: MethodsResult) -> str:
    """Tables, leads, losses and the paper's figures as plain text, at most 110 columns wide."""
    lines = [f"{cut(result.title, 60)} (preset {cut(result.preset, 12)}); means [95 % interval]", ""]
    lines += _tables(result)
    paper = verdicts(result, result.published)
    for heading, sentences in (
        ("The contrast", contrast_sentences(result)),
        ("Where another method beats the reference", lead_sentences(result)),
        ("Lost draws", loss_sentences(result)),
        ("Beside the paper's figures", paper_sentences(paper)),
        ("What these figures cannot say", caveats(result)),
    ):
        if sentences:
            lines += ["", f"{heading}:"]
            for sentence in sentences:
                lines += textwrap.wrap(sentence, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


def draws_text(row: dict[str, int], *, reasons: bool = True) -> str:
    """The draws behind a mean: "24", "23 of 24; 1 diverged", or without the reasons "23 of 24"."""
    if row[OK] == row["draws"]:
        return f"{row['draws']:,}"
    lost = ", ".join(f"{row[status]:,} {status}" for status in LOST if row[status])
    return f"{row[OK]:,} of {row['draws']:,}" + f"; {lost}" * reasons


def measure_column(measure: Measure) -> Column:
    return Column(measure.axis, measure.decimals, sign=measure.signed, interval=True)


def seconds_text(seconds: float) -> str:
    return f"{seconds:.2g}" if 0 <= seconds < 10 else f"{seconds:.0f}" if np.isfinite(seconds) else DASH


def contrast_answers(result: MethodsResult) -> dict[str, Answer]:
    """Measure → the contrast in it, of those that both arms have: the restored image, the PSF, else the residual."""
    if result.contrast is None:
        return {}
    found: dict[str, Answer] = {}
    for name in ("psnr_db", "ssim", "psf_snr_db", *(metric.name for metric in result.own_metrics), "whiteness"):
        measure = result.measures[name]
        words = {**measure.words, "decimals": measure.decimals + 1}
        if name == "whiteness" and found:
            continue
        if set(result.contrast) <= set(result.gives(name)):
            one = answer(result.scored, result.contrast, name, draw=DRAW, cluster="image", **words)
            found |= {} if one is None else {name: one}
    return found


def contrast_sentences(result: MethodsResult) -> list[str]:
    """The question that the study asks, with its answer."""
    if result.contrast is None:
        return []
    return answers_text(result.contrast, list(contrast_answers(result).values()), result.arms)


def lead_sentences(result: MethodsResult) -> list[str]:
    """Every arm × level × measure whose interval lies on the other arm's side, a sentence per arm and measure."""
    leads = rival_leads(result)
    if len(result.noises) == 1:  # its level says what all draws say
        leads = leads[leads["level"] == "all draws"]
    rivals = leads[~leads["informed"]]
    sentences = [_lead(rows, result) for _, rows in rivals.groupby(["arm", "measure"], sort=False)]
    if sentences:
        sentences.append("Confirmed: by the paired test, corrected for the methods; otherwise by the interval only.")
    if not sentences:
        compared = [arm for arm in result.paired["arm"].unique() if arm not in result.informed]
        if not compared:
            return [f"No other method was compared with {result.reference}."]
        among = f"any of the {len(compared)} other methods" if len(compared) > 1 else "the only other method"
        sentences = [f"No interval favours {among} over {result.reference}."]
    informed = leads[leads["informed"]]
    if len(informed):
        arms = ", ".join(dict.fromkeys(informed["arm"]))
        sentences.append(f"Not counted, since they were given a truth: {arms}, ahead in {len(informed)} such rows.")
    return sentences


def loss_sentences(result: MethodsResult) -> list[str]:
    """Which arm lost how many draws, and the most frequent reason."""
    sentences = []
    for row in result.summary[result.summary["group"] == "all"].to_dict("records"):
        if row[OK] < row["draws"]:
            here = result.items[(result.items["arm"] == row["arm"]) & (result.items["status"] != OK)]
            reasons = here["reason"].replace("", np.nan).dropna().value_counts()
            why = f"; most often: {cut(str(reasons.index[0]), 160)}" if len(reasons) else ""
            sentences.append(f"{row['arm']}: {draws_text(row)}{why}")
    return sentences


def paper_sentences(found: Sequence[Verdict]) -> list[str]:
    """A sentence per claim, with all methods that it speaks of; the reason that most share is said once, at the end."""
    reasons = [verdict.because for verdict in found if verdict.because]
    common = max(set(reasons), key=lambda reason: (reasons.count(reason), reason), default="")
    sentences: dict[str, list[str]] = {}
    for verdict in found:
        claim = verdict.claim
        head = f"{claim.said} ({claim.where}), paper {verdict.published_figure}"
        words = "not comparable*" if common and verdict.because == common else verdict.words
        sentences.setdefault(head, []).append(f"{verdict.arm} {verdict.our_figure}, {words}")
    lines = [f"{head}: {'; '.join(arms)}." for head, arms in sentences.items()]
    return [*lines, f"* because {common}."] if common else lines


def caveats(result: MethodsResult) -> list[str]:
    """What the figures cannot say because the study is small or has no truth."""
    sentences = []
    mine = result.items[result.items["arm"] == result.reference]
    images, seeds = mine["image"].nunique(), mine["seed"].nunique()
    compared = max(Counter(zip(result.paired["measure"], result.paired["level"], strict=True)).values(), default=0)
    of_images = f"{images} test image{'s' * (images > 1)}"
    if images < 6:
        sentences.append(f"{of_images}: intervals are wide or absent.")
    least_p = compared * 2.0 ** (1 - images)  # of a sign-flip test, corrected
    if seeds == 1 and least_p > SIGNIFICANT:
        sentences.append(
            f"With {of_images}, a test that is corrected for {compared} method{'s' * (compared > 1)} cannot fall below "
            f"p = {SIGNIFICANT}, however large the difference."
        )
    if seeds == 1:
        sentences.append("One training seed: the figures speak of these trained networks, not of training them again.")
    if not result.gives("psnr_db") and not result.gives("psf_snr_db"):
        sentences.append(
            "Real images have no ground truth: a residual that is white shows that image and PSF together explain the "
            "data, not that either is right."
        )
    if (result.items["status"] != OK).any():
        sentences.append(
            "Lost draws have no score, so a mean speaks of the draws that a method survived; paired differences rest "
            "on the draws that both methods survived."
        )
    return sentences


def _lead(rows: pd.DataFrame, result: MethodsResult) -> str:
    """One arm, one measure, all levels at which it leads; it "beats" where the test agrees at one of them."""
    first = rows.iloc[0]
    measure = result.measures[first["measure"]]
    decimals = measure.decimals + 1
    unit = f" {measure.unit}" * bool(measure.unit)
    parts = []
    for row in rows.to_dict("records"):
        sure = " (confirmed)" * bool(row["p_holm"] < SIGNIFICANT)
        bounds = bracketed(row["low"], row["high"], decimals)
        parts.append(f"{row['level']} {signed(row['difference'], decimals)}{unit} {bounds}{sure}")
    better = "" if measure.higher_is_better else ", lower is better"
    verb = "beats" if (rows["p_holm"] < SIGNIFICANT).any() else "is ahead of"
    return f"{first['arm']} {verb} {result.reference} in {measure.label}{better}: {'; '.join(parts)}."


def _tables(result: MethodsResult) -> list[str]:
    """A line per arm, under a heading per noise level, in the widest form that fits.

    Real images have other columns, and so have those of an ideal lens. A study's own metrics have a table of their own
    where they find no room beside the rest.
    """
    usual = _IDEAL_COLUMNS if result.etas == [0.0] else _TEXT_COLUMNS
    kinds = (usual, [metric.name for metric in result.own_metrics])
    groups = [[name for name in names if result.gives(name)] for names in kinds]
    groups = [names for names in groups if names] or [list(_REAL_COLUMNS)]
    every = [name for names in groups for name in names]
    tables = [_widest(result, [(every, 22), (every, 17)])]
    if not tables[0].fits():
        tables = [_widest(result, [(names, 22), (names, 17), (names[:2], 22), (names[:1], 22)]) for names in groups]
    words = f"* the reference. Medians of seconds; {DASH} where a method gives no such output."
    return ["\n\n".join(table.text() for table in tables), words]


def _widest(result: MethodsResult, forms: Sequence[tuple[Sequence[str], int]]) -> Table:
    """The first that fits of (columns, width of the names), or the last."""
    tables = [_table(result, *form) for form in forms]
    return next((table for table in tables if table.fits()), tables[-1])


def _table(result: MethodsResult, names: Sequence[str], name_width: int) -> Table:
    groups = ["all", "noise"] if len(result.noises) > 1 else ["all"]
    rows = result.summary[result.summary["group"].isin(groups)]
    label = [cut(arm, name_width) + " *" * (arm == result.reference) for arm in rows["arm"]]
    draws = [f"{known}/{tried}" for known, tried in zip(rows[OK], rows["draws"], strict=True)]
    columns = {"level": Column("level", group=True), "label": Column("method"), "ok": Column("draws ok", 0)}
    columns |= {name: measure_column(result.measures[name]) for name in names} | {
        "seconds": Column("seconds", 0, form=seconds_text)
    }
    return Table.of(rows.assign(label=label, ok=draws), columns)
