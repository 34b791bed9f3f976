"""How each kind of result is laid out: its report folder, its text for the job log, its figures for MLflow."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepblur.platform.comparison import MEASURES, MethodsResult
from deepblur.platform.comparison_report import write_comparison
from deepblur.platform.comparison_text import comparison_text
from deepblur.platform.doubt_report import write_doubt
from deepblur.platform.doubt_result import DoubtResult, doubt_metrics, doubt_text
from deepblur.platform.plots import png
from deepblur.platform.report import write_report
from deepblur.platform.results import GAINS, StudyResult, summary_table
from deepblur.platform.search_report import search_metrics, search_text, write_search
from deepblur.platform.search_result import SearchResult
from deepblur.platform.tuning_result import TuningResult, tuning_metrics, tuning_text, write_tuning
from deepblur.platform.verdict import text_summary

Result = StudyResult | MethodsResult | TuningResult | SearchResult | DoubtResult


@dataclass(frozen=True)
class Layout:
    write: Callable[[Any, Path], Path]
    """(result, folder) → the file to open first."""
    text: Callable[[Any], str]
    metrics: Callable[[Any], dict[str, float]]


def _write_study(result: StudyResult, folder: Path) -> Path:
    report = write_report(result, folder)
    _write_pictures(result, folder / "pictures")
    return report


def _write_pictures(result: StudyResult, folder: Path) -> None:
    """One strip a picture: blurry, restored by each arm, sharp; then the true and the estimated PSF."""
    folder.mkdir(exist_ok=True)
    for picture in result.pictures:
        images = [picture.blurry, *picture.restored.values(), picture.sharp]
        name = re.sub(r"[^\w.]+", "-", picture.title)
        (folder / f"{name}.png").write_bytes(png(np.concatenate(images, axis=1), side_px=1200))
        psfs = np.concatenate([picture.psf_true, picture.psf_estimated], axis=1)
        (folder / f"{name}-psf.png").write_bytes(png((psfs / psfs.max()).clip(0) ** 0.5))


def _overall(result: StudyResult) -> dict[str, float]:
    """The summary's overall means and intervals, by arm."""
    table = summary_table(result)
    rows = table[table["group"] == "all"].set_index("arm")
    return {
        f"{arm}/{name}": float(value)
        for arm, row in rows.iterrows()
        for name, value in row.items()
        if name.removesuffix("_low").removesuffix("_high") in GAINS
    }


def _means(result: MethodsResult) -> dict[str, float]:
    """Every method's means over all draws, where it has them."""
    table = result.summary
    return {
        f"{row['arm']}/{name}": float(row[name])
        for row in table[table["group"] == "all"].to_dict("records")
        for name in MEASURES
        if np.isfinite(row[name])
    }


LAYOUTS: dict[type, Layout] = {
    StudyResult: Layout(_write_study, text_summary, _overall),
    MethodsResult: Layout(write_comparison, comparison_text, _means),
    TuningResult: Layout(write_tuning, tuning_text, tuning_metrics),
    SearchResult: Layout(write_search, search_text, search_metrics),
    DoubtResult: Layout(write_doubt, doubt_text, doubt_metrics),
}
