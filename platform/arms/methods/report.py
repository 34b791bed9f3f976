"""The report of a comparison of methods: its sections, its figures, and the tables that lie beside them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from deepblur.platform.arms.methods import charts, content_charts, matrix, strips
from deepblur.platform.arms.methods.published import verdicts
from deepblur.platform.arms.methods.result import MethodsResult, rival_leads
from deepblur.platform.arms.methods.text import (
    caveats,
    contrast_sentences,
    draws_text,
    lead_sentences,
    loss_sentences,
    measure_column,
    seconds_text,
)
from deepblur.platform.report.curves import by_measure, learning_curves
from deepblur.platform.report.numbers import p_text
from deepblur.platform.report.page import Block, Figure, Folded, Section, cost_section
from deepblur.platform.report.table import Column, Row, Table

FIGURES: dict[str, tuple[Callable[[MethodsResult], Drawing | None], str, str]] = {
    "examples": (
        strips.examples,
        "Examples",
        "Held-out draws as the methods saw and restored them, images on [0, 1] without further gamma. In the corner "
        "the PSF, true or estimated, as (h / max h)^0.5, each on its own scale.",
    ),
    "real_images": (
        strips.real_images,
        "Real images",
        "Real images, restored, and what the re-blurred restoration leaves of the data: where the residual shows the "
        "object, PSF or image are wrong; a residual without structure proves neither right.",
    ),
    "psf_snr_distribution": (
        charts.psf_snr_distribution,
        "PSF SNR, draw by draw",
        "Distribution of the PSF SNR over draws; diamond: mean and 95 % interval. Dashed: an error of 5 %. A number "
        "beside ◂ counts draws beyond the left edge.",
    ),
    "generalisation": (
        matrix.generalisation,
        "Trained and tested",
        "Mean with its 95 % interval of every arm at every level of the test. Framed: the levels that the arm was "
        "trained for; bold: the best of the column.",
    ),
    "stability": (
        charts.stability,
        "Stability of the identification",
        "Typical relative squared error of the PSF (that of the mean SNR in dB) with 95 % intervals, against the noise "
        "and against η; dashed: 5 %, dotted: 10 %. Grey: the middle half of the reference's draws. Points are set "
        "apart sideways only to be seen.",
    ),
    "noise_dependence": (
        charts.noise_dependence,
        "Quality at every noise level",
        "Means with 95 % intervals over the draws that each method survived; gains are over the blurry input.",
    ),
    "differences": (
        charts.differences,
        "Differences to the reference",
        "Paired difference to the reference with its 95 % interval, on the draws that both survived; to the right, the "
        "other method is better. Filled: the test confirms it after Holm's correction over the methods.",
    ),
    "quality_and_time": (
        charts.quality_and_time,
        "Quality and time",
        "Mean over all draws with its 95 % interval against the median of seconds per image; sideways, the middle half "
        "of the draws. Seconds are those of the machine named under Provenance.",
    ),
    "by_category": (
        content_charts.by_category,
        "By category of content",
        "The reference's mean by what an image shows, with 95 % intervals, not corrected for the number of categories; "
        "in brackets the number of images. An image counts in each of its categories.",
    ),
    "by_texture": (
        content_charts.by_texture,
        "By texture",
        "Means with 95 % intervals in bins of equally many images, at the median of each bin. Points are set apart "
        "sideways only to be seen.",
    ),
}
"""Name of the file → how it is drawn, heading, caption."""

_TABLES = {
    "PSF": ("psf_snr_db", "psf_snr_registered_db", "psf_ncc", "otf_error", "wavefront_error_waves"),
    "Image": ("psnr_db", "psnr_gain_db", "ssim", "ssim_gain", "whiteness"),
}
PICTURES = ("examples", "real_images")
"""Figures that are shown as pixels."""


def tables(result: MethodsResult) -> dict[str, pd.DataFrame]:
    """The files NAME.csv beside the report."""
    published = published_table(result)
    return {"summary": result.summary, "paired": result.paired, "leads": rival_leads(result), "published": published}


def published_table(result: MethodsResult) -> pd.DataFrame:
    """The paper's figures beside ours: claim, where, arm, published, ours, low, high, draws, verdict, because."""
    rows = [
        (v.claim.said, v.claim.where, v.arm, v.published_figure, v.ours, v.low, v.high, v.draws, v.outcome, v.because)
        for v in verdicts(result, result.published)
    ]
    columns = ["claim", "where", "arm", "published", "ours", "low", "high", "draws", "verdict", "because"]
    return pd.DataFrame(rows, columns=columns)


def sections(result: MethodsResult) -> list[Section]:
    drawn = {name: (draw(result), heading, caption) for name, (draw, heading, caption) in FIGURES.items()}
    contrast, leads = contrast_sentences(result), lead_sentences(result)
    cannot = [*loss_sentences(result), *caveats(result)]
    return [
        Section("The contrast", [contrast] if contrast else []),
        Section("Where another method beats the reference", [leads]),
        Section("Beside the paper's figures", _published(result)),
        Section("What these figures cannot say", [cannot]),
        Section("Every method at every level", _summary(result)),
        Section("Paired differences to the reference", _paired(result)),
        *(
            Section(heading, [Figure(drawing, caption, name, pixels=name in PICTURES)])
            for name, (drawing, heading, caption) in drawn.items()
            if drawing is not None
        ),
        Section("Learning curves", _curves(result.curves)),
        Section("Settings", _parameters(result.parameters)),
        cost_section(result.cost),
    ]


def _summary(result: MethodsResult) -> list[Block]:
    """The tables over all draws and per noise level, the same per η folded, and what an image costs."""
    of_eta = result.summary["group"] == "eta_waves"
    blocks: list[Block] = [*_levels(result, result.summary[~of_eta]), _cost(result)]
    return [*blocks, Folded("The same for each η", _levels(result, result.summary[of_eta]))] if of_eta.any() else blocks


def _levels(result: MethodsResult, summary: pd.DataFrame) -> list[Block]:
    """A table of each kind of measure: under each level a row per method that gives any of them."""
    blocks: list[Block] = []
    own = {"Own metrics": tuple(metric.name for metric in result.own_metrics)}
    for kind, names in (_TABLES | own).items():
        known = [name for name in names if result.gives(name)]
        rows = summary[summary["arm"].isin({arm for name in known for arm in result.gives(name)})]
        said = [draws_text(row, reasons=False) for row in rows.to_dict("records")]
        columns = {"level": Column("level", group=True), "arm": Column("method"), "said": Column("draws", 0)}
        columns |= {name: measure_column(result.measures[name]) for name in known}
        truth = f"; given a truth: {', '.join(result.informed)}" if result.informed else ""
        caption = f"{kind}: means over the draws that are ok, with 95 % intervals; the reference in bold{truth}."
        if known:
            blocks.append(Table.of(rows.assign(said=said), columns, caption, bold=rows["arm"] == result.reference))
    return blocks


def _cost(result: MethodsResult) -> Table:
    rows = result.summary[result.summary["group"] == "all"]
    columns = {
        "arm": Column("method"),
        "said": Column("draws"),
        "seconds": Column("seconds", 0, form=seconds_text),
        "peak_mb": Column("memory (MB)", 0),
    }
    caption = "Cost per image, over the draws that are ok: the median of seconds and the largest peak of memory."
    said = [draws_text(row) for row in rows.to_dict("records")]
    return Table.of(rows.assign(said=said), columns, caption, bold=rows["arm"] == result.reference)


def _paired(result: MethodsResult) -> list[Block]:
    if result.paired.empty:
        return []
    blocks: list[Block] = [
        f"Each method minus {result.reference} on the draws where both came to an estimate; 95 % intervals from a "
        "bootstrap over whole images with the spread of seeds, p of a sign-flip test over images (with several seeds, "
        "of a test that takes both as random), Holm's correction over the methods of one measure and level. Pairs that "
        "one of the two lost are counted, not compared."
    ]
    for name, rows in result.paired.groupby("measure", sort=False):
        measure = result.measures[str(name)]
        decimals = measure.decimals + 1
        columns = {
            "label": Column("measure", group=True),
            "level": Column("level", group=True),
            "arm": Column("method"),
            **{count: Column(count, 0) for count in ("draws", "lost", "images")},
            "mean": Column("method", decimals),
            "reference": Column("reference", decimals),
            "difference": Column("difference", decimals, sign=True, interval=True),
            "p": Column("p", 0, form=p_text),
            "p_holm": Column("p, Holm", 0, form=p_text),
            "favoured": Column("in favour of"),
        }
        favoured = (
            rows["arm"].where(rows["in_favour"] == "arm", "").mask(rows["in_favour"] == "reference", result.reference)
        )
        rows = rows.assign(label=measure.label, favoured=favoured).rename(
            columns={"low": "difference_low", "high": "difference_high"}
        )
        better = "Higher" if measure.higher_is_better else "Lower"
        table = Table.of(rows, columns, f"{measure.axis}. {better} is better.")
        blocks.append(Folded(f"{measure.label}: {len(rows)} differences", [table]))
    return blocks


def _published(result: MethodsResult) -> list[Block]:
    rows = [
        Row([f"{v.claim.said} ({v.claim.where})", v.arm, v.published_figure, v.our_figure, v.words])
        for v in verdicts(result, result.published)
    ]
    columns = [
        Column("claim", wrap=True),
        Column("method"),
        Column("paper", 0),
        Column("ours", 0),
        Column("verdict", wrap=True),
    ]
    return [Table(columns, rows)] if result.published else []


def _curves(curves: dict[str, pd.DataFrame]) -> list[Block]:
    """Training runs that share a validation measure lie in one figure, so that rivals are seen side by side."""
    figures = [learning_curves(measure, runs) for measure, runs in by_measure(curves).items()]
    known = {run: table for run, table in curves.items() if "train_s" in table}
    rows = [
        Row([run, table["step"].max(), table["train_s"].max(), table["peak_mb"].max() or np.nan])
        for run, table in known.items()
    ]
    columns = [
        Column("training"),
        Column("steps", 0),
        Column("seconds", 0, form=seconds_text),
        Column("memory (MB)", 0),
    ]
    caption = "Seconds of each training without its validation, and the most memory that its process took for it."
    return [*figures, *([Table(columns, rows, caption)] if rows else [])]


def _parameters(parameters: dict[str, dict[str, str]]) -> list[Block]:
    lists = [Section(arm, [values]) for arm, values in parameters.items() if values]
    return [Folded("Settings of every method", lists)] if lists else []
