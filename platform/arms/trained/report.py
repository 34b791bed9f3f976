"""The report of a study of trained networks: its sections, and the tables that lie beside them."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepblur.platform.arms.trained.charts import forest, means_by_cell, psf_snr_distribution
from deepblur.platform.arms.trained.result import StudyResult, paired_table, seed_table, summary_table
from deepblur.platform.arms.trained.text import (
    baseline_sentences,
    caveats,
    columns_of,
    compared,
    contrast_sentences,
    gains_table,
)
from deepblur.platform.report.curves import baseline_of, by_measure, learning_curves
from deepblur.platform.report.numbers import DASH, fixed, p_text
from deepblur.platform.report.page import Block, Figure, Folded, Picture, Section, Strip, cost_section, write
from deepblur.platform.report.style import png
from deepblur.platform.report.table import Column, Row, Table

PSF_DISPLAY_GAMMA = 0.5
_VERDICT = (
    "A draw is one photograph, operator and noise, counted once per training seed. PSNR of the restored image is "
    "the primary measure; the others are secondary and their p values are not corrected for looking at several "
    "measures. Intervals are 95 %, from a bootstrap over whole test images with the spread of training "
    "seeds added; p is that of a sign-flip test over images with one seed, over images and seeds with more."
)
_PICTURES = (
    "Held-out draws as the networks saw them, each row one draw. Images on the scale [0, 1] without further gamma; "
    f"PSFs as (h / max)^{PSF_DISPLAY_GAMMA:g}, true and estimated on the same scale. Figures below a picture are "
    "those of this one draw."
)


def write_report(result: StudyResult, folder: Path) -> Path:
    """Write report.html into `folder`, beside it summary.csv, paired.csv and items.parquet; return its path."""
    return write(result, sections(result), {"items": result.items, **tables(result)}, folder)


def tables(result: StudyResult) -> dict[str, pd.DataFrame]:
    """The files NAME.csv beside the report."""
    return {"summary": summary_table(result), "paired": paired_table(result)}


def sections(result: StudyResult) -> list[Section]:
    paired = paired_table(result)
    return [
        Section(
            "Verdict",
            [[*contrast_sentences(result, paired), *baseline_sentences(result), *caveats(result)], _VERDICT],
        ),
        Section("Contrast", _contrast(result, paired)),
        Section(
            "Gains over the trivial baselines",
            [
                gains_table(
                    result,
                    "Means with 95 % intervals. PSF SNR is that of IN's estimate, beside what it gains over the mean "
                    "PSF of the family, which needs no image. PSNR and SSIM gains of DN are over the blurry input; the "
                    "last column is what the same DN gains when it is given the true γ.",
                )
            ],
        ),
        Section("PSF SNR, draw by draw", [_distribution(result)]),
        Section("Dependence on noise and η", [_by_cell(result)]),
        Section("Pictures", _pictures(result)),
        Section("Learning curves", _curves(result.curves)),
        Section("Training seeds", [_seeds(result)]),
        Section("Hyperparameters", _parameters(result.parameters)),
        cost_section(result.cost),
    ]


def _contrast(result: StudyResult, paired: pd.DataFrame) -> list[Block]:
    first, second = result.contrast
    blocks: list[Block] = []
    for metric, rows in paired.groupby("metric", sort=False):
        measure = compared(result)[str(metric)]
        name, decimals, unit = measure.label, measure.decimals, f" ({measure.unit})" if measure.unit else ""
        if metric == "psnr_db":
            caption = (
                f"Difference in PSNR between the arms on the same {rows.iloc[0]['draws']:,} draws, mean and "
                f"95 % interval, not corrected for the number of cells. Right of zero, the arm {first} is better."
            )
            blocks.append(Figure(forest(rows, f"{name}, {first} − {second}{unit}"), caption))
        columns = {
            "where": Column("cell"),
            "draws": Column("draws", 0),
            "images": Column("images", 0),
            "first": Column(first, decimals),
            "second": Column(second, decimals),
            "difference": Column("difference", decimals, sign=True, interval=True),
            "p": Column("p", 0, form=p_text),
            "p_holm": Column("p, Holm", 0, form=p_text),
        }
        caption = f"{name}{unit}: mean of both arms and paired difference {first} − {second} with its 95 % interval."
        ends = rows.rename(columns={"low": "difference_low", "high": "difference_high"})
        blocks.append(Table.of(ends, columns, caption, bold=[i == 0 for i in range(len(rows))]))
    return blocks


def _distribution(result: StudyResult) -> Figure:
    draws = result.items[result.items["arm"] == result.arms[0]].groupby("noise").size()
    who = "The arms share one IN, so one line stands for all. " if result.one_psf and len(result.arms) > 1 else ""
    caption = (
        f"Share of draws whose PSF SNR stays below the value on the axis, {_range(draws)} draws a line. {who}"
        "Dashed: the mean PSF of the family. A curve further right is better."
    )
    return Figure(psf_snr_distribution(result), caption)


def _by_cell(result: StudyResult) -> Figure:
    draws = result.items[result.items["arm"] == result.arms[0]].groupby(["noise", "eta_waves"]).size()
    caption = (
        f"Mean and 95 % interval per cell, {_range(draws)} draws each. Top: PSF SNR of IN; dashed, the mean PSF. "
        "Bottom: PSNR gain over the blurry input (dashed, at zero); dotted, the same networks given the true γ. Points "
        "are set apart sideways only to be seen."
    )
    return Figure(means_by_cell(result), caption)


def _pictures(result: StudyResult) -> list[Block]:
    blocks: list[Block] = []
    for picture in result.pictures:
        notes = picture.captions
        images = {"blurry": picture.blurry, **picture.restored, "sharp": picture.sharp}
        shown = [Picture(label, png(image), notes.get(label, "")) for label, image in images.items()]
        top = max(picture.psf_true.max(), picture.psf_estimated.max(), np.finfo(np.float32).tiny)
        psfs = {"PSF, true": (picture.psf_true, ""), "PSF, IN": (picture.psf_estimated, notes.get("psf", ""))}
        for label, (psf, note) in psfs.items():
            shown.append(Picture(label, png(np.clip(psf / top, 0, 1) ** PSF_DISPLAY_GAMMA), note))
        blocks.append(Section(picture.title, [Strip(shown)]))
    return [_PICTURES, *blocks] if blocks else []


def _curves(curves: dict[str, pd.DataFrame]) -> list[Block]:
    figures, rows = [], []
    for measure, stages in by_measure(curves).items():
        figures.append(learning_curves(measure, stages))
        for stage, table in stages.items():
            last = [_last(table, "loss", ".3g"), _last(table, measure), _last(table, baseline_of(measure, stages))]
            rate = table["images_per_s"].median() if "images_per_s" in table else np.nan
            cells = [stage, table["step"].max(), *last, rate]
            rows.append(Row(cells, rule=stage == next(iter(stages))))
    headings = ("steps", "last loss", "last validation (dB)", "trivial baseline (dB)", "images / s")
    columns = [Column("stage"), *(Column(heading, 0) for heading in headings)]
    return [*figures, Table(columns, rows, "Where each training run ended.")] if curves else []


def _seeds(result: StudyResult) -> Table:
    table = seed_table(result)
    seeds = [str(column) for column in table if str(column).startswith("seed ")]
    known = table[[*seeds, "seed_std"]]
    written = columns_of(result)
    decimals = [written[name].decimals or 0 for name in table["measure"]]
    for name in known:
        table[name] = [fixed(value, d + 1) for value, d in zip(known[name], decimals, strict=True)]
    table["measure"] = [written[name].heading for name in table["measure"]]
    columns = {"measure": Column("measure"), "arm": Column("arm"), **{seed: Column(seed, 0) for seed in seeds}}
    caption = "Mean over all draws, one column per training seed, and the standard deviation over seeds."
    return Table.of(table, columns | {"seed_std": Column("std. dev.", 0)}, caption, rule="measure")


def _parameters(parameters: dict[str, dict[str, str]]) -> list[Block]:
    """Those that differ between arms in a table, all of them folded below it."""
    names = list(dict.fromkeys(name for values in parameters.values() for name in values))
    differing = [name for name in names if len({values.get(name) for values in parameters.values()}) > 1]
    columns = [Column(heading, wrap=True) for heading in ("parameter", *parameters)]

    def table(chosen: list[str], caption: str = "") -> Table:
        rows = [Row([name, *(values.get(name, DASH) for values in parameters.values())]) for name in chosen]
        return Table(columns, rows, caption)

    shown = [table(differing, "What differs between the arms.")] if differing else []
    return [*shown, Folded(f"All {len(names)} hyperparameters", [table(names)])] if names else []


def _last(table: pd.DataFrame, column: str, form: str = ".2f") -> str:
    """The last known value of a column, or a dash."""
    known = table[column].dropna().tolist() if column in table else []
    return format(float(known[-1]), form).replace("-", "−") if known else DASH


def _range(counts: pd.Series) -> str:
    return f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
