"""The report of a finished study: one HTML file that needs no network and no script, and its tables as CSV beside it.

`StudyResult` and `Picture` say what goes in, `write_report` writes, `text_summary` tells the job log the same.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from deepblur.platform.arms.trained.result import (
    Picture,
    StudyResult,
    interval,
    paired_table,
    seed_table,
    summary_table,
)
from deepblur.platform.arms.trained.text import (
    DECIMALS,
    NAMES,
    baseline_sentences,
    caveats,
    contrast_sentences,
    text_summary,
)
from deepblur.platform.report import curves as plots
from deepblur.platform.report import page as markup
from deepblur.platform.report.numbers import p_text
from deepblur.platform.report.sections import cost_section
from deepblur.platform.system.whole_files import replace_file

__all__ = ["Picture", "StudyResult", "summary_table", "text_summary", "write_report"]

PSF_DISPLAY_GAMMA = 0.5
VALIDATION = {  # validation column of a stage → its trivial baseline and the axis label
    "val_psnr_db": ("val_blurry_psnr_db", "PSNR, validation (dB)"),
    "val_psf_snr_db": ("val_mean_psf_snr_db", "PSF SNR, validation (dB)"),
}
SUMMARY = {  # column of the summary → heading, decimals, signed
    "psf_snr_db": ("PSF SNR (dB)", 1, False),
    "psf_gain_db": ("over mean PSF (dB)", 1, True),
    "psnr_gain_db": ("PSNR gain (dB)", 2, True),
    "ssim_gain": ("SSIM gain", 3, True),
    "oracle_psnr_gain_db": ("PSNR gain, true γ (dB)", 2, True),
}


def write_report(result: StudyResult, folder: Path) -> Path:
    """Write report.html into `folder`, beside it summary.csv, paired.csv and items.parquet; return the report's path.

    A file is either the old one or the whole new one: it is written under another name and renamed.
    """
    summary, paired = summary_table(result), paired_table(result)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in {"summary": summary, "paired": paired}.items():
        replace_file(folder / f"{name}.csv", table.to_csv(index=False).encode())
    replace_file(folder / "items.parquet", result.items.to_parquet(index=False))
    return replace_file(folder / "report.html", page(result, summary, paired).encode())


def page(result: StudyResult, summary: pd.DataFrame, paired: pd.DataFrame) -> str:
    """The whole HTML text."""
    sections = {
        "Verdict": _verdict(result, paired),
        "Contrast": _contrast(result, paired),
        "Gains over the trivial baselines": _summary(summary),
        "PSF SNR, draw by draw": _distribution(result),
        "Dependence on noise and η": _cells(result),
        "Pictures": _pictures(result),
        "Learning curves": _curves(result.curves),
        "Training seeds": _seeds(result),
        "Hyperparameters": _parameters(result.parameters),
        "What it cost": cost_section(result.cost),
        "Provenance": markup.pairs({"Command": result.command, **result.facts}),
    }
    lead = f"Study {result.name}, preset {result.preset}"
    return markup.document(result.title, lead, markup.pairs(result.abstract), sections)


def _verdict(result: StudyResult, paired: pd.DataFrame) -> str:
    sentences = [*contrast_sentences(result, paired), *baseline_sentences(result), *caveats(result)]
    return markup.listed(sentences) + markup.paragraph(
        "A draw is one photograph, operator and noise, counted once per training seed. PSNR of the restored image is "
        "the primary measure; the others are secondary and their p values are not corrected for looking at several "
        "measures. Intervals are 95 %, from a bootstrap over whole test images with the spread of training "
        "seeds added; p is that of a sign-flip test over images with one seed, over images and seeds with more."
    )


def _contrast(result: StudyResult, paired: pd.DataFrame) -> str:
    if paired.empty:
        return ""
    first, second = result.contrast
    html = ""
    for metric, rows in paired.groupby("metric", sort=False):
        name, decimals = NAMES[str(metric)], DECIMALS[str(metric)]
        unit = "" if metric == "ssim" else " (dB)"
        if metric == "psnr_db":
            plot = plots.forest(rows, f"{name}, {first} − {second}{unit}")
            html += markup.figure(
                plot,
                f"Difference in PSNR between the arms on the same {rows.iloc[0]['draws']:,} draws, mean and "
                f"95 % interval, not corrected for the number of cells. Right of zero, the arm {first} is better.",
            )
        body = []
        for i, row in enumerate(rows.to_dict("records")):
            cells = markup.words(row["where"]) + markup.numbers(f"{row['draws']:,}", f"{row['images']}")
            cells += markup.numbers(f"{row['first']:.{decimals}f}", f"{row['second']:.{decimals}f}")
            cells += markup.estimate(row["difference"], row["low"], row["high"], decimals, True)
            body.append((cells + markup.numbers(p_text(row["p"]), p_text(row["p_holm"])), "lead" if i == 0 else ""))
        head = markup.headings("cell", numeric=False) + markup.headings("draws", "images", first, second)
        head += markup.headings("difference", span=2) + markup.headings("p", "p, Holm")
        caption = f"{name}{unit}: mean of both arms and paired difference {first} − {second} with its 95 % interval."
        html += markup.table(head, body, caption)
    return html


def _summary(summary: pd.DataFrame) -> str:
    body = []
    for arm, rows in summary.groupby("arm", sort=False):
        for i, row in enumerate(rows.to_dict("records")):
            cells = markup.words(str(arm) if i == 0 else "") + markup.words(row["level"])
            cells += markup.numbers(f"{row['draws']:,}")
            for name, (_, decimals, sign) in SUMMARY.items():
                cells += markup.estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], decimals, sign)
            body.append((cells, ("first " if row["group"] != rows.iloc[i - 1]["group"] else "") + ("lead" * (i == 0))))
    head = markup.headings("arm", "subset", numeric=False) + markup.headings("draws")
    return markup.table(
        head + markup.headings(*(name for name, *_ in SUMMARY.values()), span=2),
        body,
        "Means with 95 % intervals. PSF SNR is that of IN's estimate, beside what it gains over the mean PSF of the "
        "family, which needs no image. PSNR and SSIM gains of DN are over the blurry input; the last column is what "
        "the same DN gains when it is given the true γ.",
    )


def _lines(result: StudyResult, measure: str, baseline: str | None = None) -> dict[str, plots.Line]:
    """A line per arm for a measure of every draw (column value); one black line where the arms share their PSFs."""
    items = result.items.assign(value=result.items[measure] - (0 if baseline is None else result.items[baseline]))
    if measure == "psf_snr_db" and result.one_psf:
        return {"IN": plots.Line(items[items["arm"] == result.arms[0]])}
    colours = plots.colour_of(result.arms)
    return {arm: plots.Line(items[items["arm"] == arm], colours[arm]) for arm in result.arms}


def _distribution(result: StudyResult) -> str:
    first = result.items[result.items["arm"] == result.arms[0]]
    mean_psf = plots.Line(first.assign(value=first["mean_psf_snr_db"]), dash="--")
    who = "The arms share one IN, so one line stands for all. " if result.one_psf and len(result.arms) > 1 else ""
    return markup.figure(
        plots.psf_snr_distribution(_lines(result, "psf_snr_db") | {"mean PSF": mean_psf}, result.noises),
        f"Share of draws whose PSF SNR stays below the value on the axis, {_range(first.groupby('noise').size())} "
        f"draws a line. {who}Dashed: the mean PSF of the family. A curve further right is better.",
    )


def _cells(result: StudyResult) -> str:
    first = result.items[result.items["arm"] == result.arms[0]]
    psf = _lines(result, "psf_snr_db")
    psf["trivial baseline"] = plots.Line(first.assign(value=first["mean_psf_snr_db"]), dash="--")
    gain = _lines(result, "psnr_db", "blurry_psnr_db")
    gain["trivial baseline"] = plots.Line(first.assign(value=0.0), dash="--")
    for arm, line in _lines(result, "oracle_psnr_db", "blurry_psnr_db").items():
        gain[f"{arm}, true γ"] = replace(line, dash=":")
    rows = {
        label: {name: replace(line, data=_by_cell(line.data)) for name, line in lines.items()}
        for label, lines in {"PSF SNR (dB)": psf, "PSNR gain (dB)": gain}.items()
    }
    return markup.figure(
        plots.cells(rows, result.noises),
        f"Mean and 95 % interval per cell, {_range(first.groupby(['noise', 'eta_waves']).size())} draws each. Top: PSF "
        "SNR of IN; dashed, the mean PSF. Bottom: PSNR gain over the blurry input (dashed, at zero); dotted, the same "
        "networks given the true γ. Points are set apart sideways only to be seen.",
    )


def _by_cell(items: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (noise, eta), cell in items.groupby(["noise", "eta_waves"], sort=False):
        mean, low, high = interval(cell, "value", None)
        rows.append({"noise": noise, "eta_waves": eta, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def _pictures(result: StudyResult) -> str:
    if not result.pictures:
        return ""
    html = markup.paragraph(
        "Held-out draws as the networks saw them, each row one draw. Images on the scale [0, 1] without further gamma; "
        f"PSFs as (h / max)^{PSF_DISPLAY_GAMMA:g}, true and estimated on the same scale. Figures below a picture are "
        "those of this one draw."
    )
    for picture in result.pictures:
        notes = picture.captions
        images = {"blurry": picture.blurry, **picture.restored, "sharp": picture.sharp}
        shown = [(label, plots.png(image), notes.get(label, "")) for label, image in images.items()]
        top = max(picture.psf_true.max(), picture.psf_estimated.max(), np.finfo(np.float32).tiny)
        psfs = {"PSF, true": (picture.psf_true, ""), "PSF, IN": (picture.psf_estimated, notes.get("psf", ""))}
        for label, (psf, note) in psfs.items():
            shown.append((label, plots.png(np.clip(psf / top, 0, 1) ** PSF_DISPLAY_GAMMA), note))
        html += markup.strip(picture.title, shown)
    return html


def _curves(curves: dict[str, pd.DataFrame]) -> str:
    kinds: dict[str, dict[str, pd.DataFrame]] = {}
    for stage, table in curves.items():
        known = [column for column in table if column in VALIDATION or str(column).startswith("val_")]
        measure = next((column for column in VALIDATION if column in known), known[0] if known else "")
        kinds.setdefault(measure, {})[stage] = table
    html, body = "", []
    for i, (measure, stages) in enumerate(kinds.items()):
        baseline, label = VALIDATION.get(measure, (None, measure))
        baseline = baseline if all(baseline in table for table in stages.values()) else None
        plot = plots.learning_curves(stages, measure, baseline, label, f"curves{i}")
        dashed = "; dashed, the trivial baseline" if baseline else ""
        validation = f"; right, {label} on fixed draws{dashed}" if measure else ""
        html += markup.figure(plot, f"Training loss over steps{validation}. {len(stages)} training runs.")
        for stage, table in stages.items():
            cells = markup.words(stage) + markup.numbers(f"{table['step'].max():,.0f}", _last(table, "loss", ".3g"))
            cells += markup.numbers(_last(table, measure), _last(table, baseline or ""))
            rate = table["images_per_s"].median() if "images_per_s" in table else np.nan
            cells += markup.numbers(f"{rate:,.0f}" if np.isfinite(rate) else "")
            body.append((cells, "first" if stage == next(iter(stages)) else ""))
    head = markup.headings("stage", numeric=False) + markup.headings("steps", "last loss", "last validation (dB)")
    head += markup.headings("trivial baseline (dB)", "images / s")
    return html + markup.table(head, body, "Where each training run ended.") if curves else ""


def _seeds(result: StudyResult) -> str:
    table = seed_table(result)
    labels = {name: (label, decimals) for name, (label, decimals, _) in SUMMARY.items()}
    seeds = [column for column in table if str(column).startswith("seed ")]
    body = []
    for row in table.to_dict("records"):
        label, decimals = labels[row["measure"]]
        cells = markup.words(label) + markup.words(str(row["arm"]))
        known = [row[column] for column in [*seeds, "seed_std"]]
        cells += markup.numbers(*(f"{value:.{decimals + 1}f}" if np.isfinite(value) else "n/a" for value in known))
        body.append((cells, "first" if row["arm"] == result.arms[0] else ""))
    caption = "Mean over all draws, one column per training seed, and the standard deviation over seeds."
    head = markup.headings("measure", "arm", numeric=False) + markup.headings(*seeds, "std. dev.")
    return markup.table(head, body, caption)


def _parameters(parameters: dict[str, dict[str, str]]) -> str:
    """Those that differ between arms in a table, all of them folded below it."""
    names = list(dict.fromkeys(name for values in parameters.values() for name in values))
    differing = [name for name in names if len({values.get(name) for values in parameters.values()}) > 1]

    def table(chosen: list[str], caption: str) -> str:
        rows = [[name, *(values.get(name, "—") for values in parameters.values())] for name in chosen]
        body = [("".join(markup.words(text, wrap=True) for text in row), "") for row in rows]
        return markup.table(markup.headings("parameter", *parameters, numeric=False), body, caption)

    if not names:
        return ""
    shown = table(differing, "What differs between the arms.") if differing else ""
    return shown + markup.folded(f"All {len(names)} hyperparameters", table(names, ""))


def _last(table: pd.DataFrame, column: str, form: str = ".2f") -> str:
    """The last known value of a column, or nothing."""
    known = table[column].dropna().tolist() if column in table else []
    return format(float(known[-1]), form) if known else ""


def _range(counts: pd.Series) -> str:
    return f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
