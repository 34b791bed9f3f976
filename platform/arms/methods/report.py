"""The report of a comparison of methods: one HTML file that needs no network and no script, its tables and figures.

`write_comparison` writes everything into one folder; `comparison_text` tells the job log the same.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from deepblur.platform.arms.methods import charts as comparison_plots
from deepblur.platform.arms.methods import matrix as comparison_matrix
from deepblur.platform.arms.methods import strips as comparison_pictures
from deepblur.platform.arms.methods.published import verdicts
from deepblur.platform.arms.methods.result import (
    MEASURES,
    MethodsResult,
    rival_leads,
)
from deepblur.platform.arms.methods.text import (
    caveats,
    comparison_text,
    contrast_sentences,
    draws_text,
    figure_text,
    lead_sentences,
    loss_sentences,
    seconds_text,
)
from deepblur.platform.report import markup
from deepblur.platform.report.curves import by_measure, learning_curves
from deepblur.platform.report.markup import cost_section
from deepblur.platform.report.numbers import DASH, bracketed, p_text, signed
from deepblur.platform.report.style import rendered
from deepblur.platform.system.whole_files import replace_file

__all__ = ["comparison_text", "write_comparison"]

FIGURES: dict[str, tuple[Callable[[MethodsResult], Figure | None], str, str]] = {
    "examples": (
        comparison_pictures.examples,
        "Examples",
        "Held-out draws as the methods saw and restored them, images on [0, 1] without further gamma. In the corner "
        "the PSF, true or estimated, as (h / max h)^0.5, each on its own scale.",
    ),
    "real_images": (
        comparison_pictures.real_images,
        "Real images",
        "Real images, restored, and what the re-blurred restoration leaves of the data: where the residual shows the "
        "object, PSF or image are wrong; a residual without structure proves neither right.",
    ),
    "psf_snr_distribution": (
        comparison_plots.psf_snr_distribution,
        "PSF SNR, draw by draw",
        "Distribution of the PSF SNR over draws; diamond: mean and 95 % interval. Dashed: an error of 5 %. A number "
        "beside ◂ counts draws beyond the left edge.",
    ),
    "generalisation": (
        comparison_matrix.generalisation,
        "Trained and tested",
        "Mean with its 95 % interval of every arm at every level of the test. Framed: the levels that the arm was "
        "trained for; bold: the best of the column.",
    ),
    "stability": (
        comparison_plots.stability,
        "Stability of the identification",
        "Typical relative squared error of the PSF (that of the mean SNR in dB) with 95 % intervals, against the noise "
        "and against η; dashed: 5 %, dotted: 10 %. Grey: the middle half of the reference's draws. Points are set "
        "apart sideways only to be seen.",
    ),
    "noise_dependence": (
        comparison_plots.noise_dependence,
        "Quality at every noise level",
        "Means with 95 % intervals over the draws that each method survived; gains are over the blurry input.",
    ),
    "differences": (
        comparison_plots.differences,
        "Differences to the reference",
        "Paired difference to the reference with its 95 % interval, on the draws that both survived; to the right, the "
        "other method is better. Filled: the test confirms it after Holm's correction over the methods.",
    ),
    "quality_and_time": (
        comparison_plots.quality_and_time,
        "Quality and time",
        "Mean over all draws with its 95 % interval against the median of seconds per image; sideways, the middle half "
        "of the draws. Seconds are those of the machine named under Provenance.",
    ),
    "by_category": (
        comparison_plots.by_category,
        "By category of content",
        "The reference's mean by what an image shows, with 95 % intervals, not corrected for the number of categories; "
        "in brackets the number of images. An image counts in each of its categories.",
    ),
    "by_texture": (
        comparison_plots.by_texture,
        "By texture",
        "Means with 95 % intervals in bins of equally many images, at the median of each bin. Points are set apart "
        "sideways only to be seen.",
    ),
}
"""Name of the file → how it is drawn, heading, caption."""

_TABLES = {
    "PSF": ("psf_snr_db", "psf_snr_registered_db", "psf_ncc", "otf_error"),
    "Image": ("psnr_db", "psnr_gain_db", "ssim", "ssim_gain", "whiteness"),
}


def write_comparison(result: MethodsResult, folder: Path) -> Path:
    """Write the report into `folder` and return the path of report.html.

    Beside it: items.parquet (everything follows from it), summary.csv, paired.csv, leads.csv, published.csv, and each
    figure as figures/NAME.svg, .pdf and .png. A file is written under another name and renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "summary": result.summary,
        "paired": result.paired,
        "leads": rival_leads(result),
        "published": published_table(result),
    }
    for name, table in tables.items():
        replace_file(folder / f"{name}.csv", table.to_csv(index=False).encode())
    replace_file(folder / "items.parquet", result.items.to_parquet(index=False))
    (folder / "figures").mkdir(exist_ok=True)
    drawn = {name: figure for name, (draw, *_) in FIGURES.items() if (figure := draw(result)) is not None}
    figures = {name: rendered(figure) for name, figure in drawn.items()}
    for name, files in figures.items():
        for kind, content in files.items():
            replace_file(folder / "figures" / f"{name}.{kind}", content)
    return replace_file(folder / "report.html", comparison_page(result, figures).encode())


def published_table(result: MethodsResult) -> pd.DataFrame:
    """The paper's figures beside ours: claim, where, arm, published, ours, low, high, draws, verdict, because."""
    rows = [
        {
            "claim": v.claim.text,
            "where": v.claim.where,
            "arm": v.arm,
            "published": v.published_figure,
            "ours": v.ours,
            "low": v.low,
            "high": v.high,
            "draws": v.draws,
            "verdict": v.outcome,
            "because": v.because,
        }
        for v in verdicts(result, result.published)
    ]
    columns = ["claim", "where", "arm", "published", "ours", "low", "high", "draws", "verdict", "because"]
    return pd.DataFrame(rows, columns=columns)


def comparison_page(result: MethodsResult, figures: dict[str, dict[str, bytes]]) -> str:
    """The whole HTML text; `figures`: name in FIGURES → kind of file → content."""
    sections = {
        "The contrast": markup.listed(said) if (said := contrast_sentences(result)) else "",
        "Where another method beats the reference": markup.listed(lead_sentences(result)),
        "Beside the paper's figures": _published(result),
        "What these figures cannot say": markup.listed([*loss_sentences(result), *caveats(result)]),
        "Every method at every level": _summary(result),
        "Paired differences to the reference": _paired(result),
    }
    for name, files in figures.items():
        _, heading, caption = FIGURES[name]
        sections[heading] = _figure(files, name, caption)
    sections |= {
        "Learning curves": _curves(result.curves),
        "Settings": _parameters(result.parameters),
        "What it cost": cost_section(result.cost),
        "Provenance": markup.pairs({"Command": result.command, **result.facts}),
    }
    lead = f"Study {result.name}, preset {result.preset}; the reference is {result.reference}"
    return markup.document(result.title, lead, markup.pairs(result.abstract), sections)


def _summary(result: MethodsResult) -> str:
    """The tables over all draws and per noise level, the same per η folded, and what an image costs."""
    of_eta = result.summary["group"] == "eta_waves"
    html = _levels(result, result.summary[~of_eta]) + _cost(result)
    return html + (
        markup.folded("The same for each η", _levels(result, result.summary[of_eta])) if of_eta.any() else ""
    )


def _levels(result: MethodsResult, summary: pd.DataFrame) -> str:
    """A table of each kind of measure: under each level a row per method that gives any of them."""
    html = ""
    for kind, names in _TABLES.items():
        known = [name for name in names if result.gives(name)]
        arms = {arm for name in known for arm in result.gives(name)}
        body = []
        for row, opens in _opened(summary[summary["arm"].isin(arms)], "level"):
            cells = markup.words(row["level"] if opens else "") + markup.words(row["arm"])
            cells += markup.numbers(draws_text(row, reasons=False))
            for name in known:
                mean, bounds = figure_text(row, name)
                cells += markup.numbers(mean) + f'<td class="n i">{bounds}</td>'
            body.append((cells, _kind(opens, row["arm"] == result.reference)))
        head = markup.headings("level", "method", numeric=False) + markup.headings("draws")
        head += markup.headings(*(MEASURES[name].axis for name in known), span=2)
        if known:
            truth = f"; given a truth: {', '.join(result.informed)}" if result.informed else ""
            caption = f"{kind}: means over the draws that are ok, with 95 % intervals; the reference in bold{truth}."
            html += markup.table(head, body, caption)
    return html


def _cost(result: MethodsResult) -> str:
    body = []
    for row in result.summary[result.summary["group"] == "all"].to_dict("records"):
        cells = markup.words(row["arm"]) + markup.words(draws_text(row)) + markup.numbers(seconds_text(row["seconds"]))
        memory = f"{row['peak_mb']:,.0f}" if np.isfinite(row["peak_mb"]) else DASH
        body.append((cells + markup.numbers(memory), _kind(False, row["arm"] == result.reference)))
    head = markup.headings("method", "draws", numeric=False) + markup.headings("seconds", "memory (MB)")
    return markup.table(
        head, body, "Cost per image, over the draws that are ok: the median of seconds and the largest peak of memory."
    )


def _paired(result: MethodsResult) -> str:
    if result.paired.empty:
        return ""
    head = markup.headings("measure", "level", "method", numeric=False) + markup.headings("draws", "lost", "images")
    head += markup.headings("method", "reference") + markup.headings("difference", span=2)
    head += markup.headings("p", "p, Holm") + markup.headings("in favour of", numeric=False)
    html = markup.paragraph(
        f"Each method minus {result.reference} on the draws where both came to an estimate; 95 % intervals from a "
        "bootstrap over whole images with the spread of seeds, p of a sign-flip test over images (with several seeds, "
        "of a test that takes both as random), Holm's correction over the methods of one measure and level. Pairs that "
        "one of the two lost are counted, not compared."
    )
    for name, rows in result.paired.groupby("measure", sort=False):
        measure, body = MEASURES[str(name)], []
        decimals = measure.decimals + 1
        for row, opens in _opened(rows, "level"):
            cells = markup.words(measure.label if opens else "") + markup.words(row["level"] if opens else "")
            cells += markup.words(row["arm"]) + markup.numbers(
                *(f"{row[name]:,}" for name in ("draws", "lost", "images"))
            )
            cells += markup.numbers(*(f"{row[side]:.{decimals}f}".replace("-", "−") for side in ("mean", "reference")))
            cells += markup.numbers(signed(row["difference"], decimals))
            cells += f'<td class="n i">{bracketed(row["low"], row["high"], decimals)}</td>'
            cells += markup.numbers(p_text(row["p"]), p_text(row["p_holm"]))
            favoured = {"arm": row["arm"], "reference": result.reference, "": ""}[row["in_favour"]]
            body.append((cells + markup.words(favoured), _kind(opens, False)))
        better = "Higher" if measure.higher_is_better else "Lower"
        table = markup.table(head, body, f"{measure.axis}. {better} is better.")
        html += markup.folded(f"{measure.label}: {len(rows)} differences", table)
    return html


def _published(result: MethodsResult) -> str:
    if not result.published:
        return ""
    body = []
    for verdict in verdicts(result, result.published):
        cells = markup.words(f"{verdict.claim.text} ({verdict.claim.where})", wrap=True) + markup.words(verdict.arm)
        cells += markup.numbers(verdict.published_figure, verdict.our_figure)
        body.append((cells + markup.words(verdict.words, wrap=True), ""))
    head = markup.headings("claim", "method", numeric=False) + markup.headings("paper", "ours")
    return markup.table(head + markup.headings("verdict", numeric=False), body, "")


def _figure(files: dict[str, bytes], name: str, caption: str) -> str:
    """Charts stay vectors; pictures are pixels, and as such half the size."""
    kind = "png" if name in ("examples", "real_images") else "svg"
    width = {"png": "72rem", "svg": "57rem"}[kind]
    image = markup.embedded(files[kind], kind, name.replace("_", " "), width)
    return markup.figure(image, caption)


def _curves(curves: dict[str, pd.DataFrame]) -> str:
    """Training runs that share a validation measure lie in one figure, so that rivals are seen side by side."""
    html = ""
    for measure, runs in by_measure(curves).items():
        drawn = learning_curves(measure, runs)
        html += markup.figure(markup.embedded(drawn.files["svg"], "svg", "", "57rem"), drawn.caption)
    return html + _training_cost(curves)


def _training_cost(curves: dict[str, pd.DataFrame]) -> str:
    body = []
    for run, table in curves.items():
        if "train_s" in table:
            memory = table["peak_mb"].max()
            cells = markup.words(run) + markup.numbers(f"{table['step'].max():,.0f}")
            cells += markup.numbers(seconds_text(table["train_s"].max()), f"{memory:,.0f}" if memory > 0 else DASH)
            body.append((cells, ""))
    head = markup.headings("training", numeric=False) + markup.headings("steps", "seconds", "memory (MB)")
    caption = "Seconds of each training without its validation, and the most memory that its process took for it."
    return markup.table(head, body, caption) if body else ""


def _parameters(parameters: dict[str, dict[str, str]]) -> str:
    lists = (f"<h3>{markup.escape(arm)}</h3>\n{markup.pairs(values)}" for arm, values in parameters.items() if values)
    content = "".join(lists)
    return markup.folded("Settings of every method", content) if content else ""


def _opened(rows: pd.DataFrame, column: str) -> Sequence[tuple[dict, bool]]:
    """Each row, and whether it is the first of its group."""
    records = rows.to_dict("records")
    return [(row, i == 0 or records[i - 1][column] != row[column]) for i, row in enumerate(records)]


def _kind(opens: bool, leads: bool) -> str:
    return " ".join(["first"] * opens + ["lead"] * leads)
