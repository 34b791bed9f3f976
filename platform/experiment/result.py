"""How each kind of result is laid out: its report folder, its text for the job log, its figures for MLflow."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepblur.platform.arms.methods.report import write_comparison
from deepblur.platform.arms.methods.result import MEASURES, OK, MethodsResult
from deepblur.platform.arms.methods.text import comparison_text, contrast_answers
from deepblur.platform.arms.search.report import search_metrics, search_text, write_search
from deepblur.platform.arms.search.result import SearchResult
from deepblur.platform.arms.trained.report import write_report
from deepblur.platform.arms.trained.result import GAINS, Picture, StudyResult, paired_table, summary_table
from deepblur.platform.arms.trained.result import MEASURES as RESULT_MEASURES
from deepblur.platform.arms.trained.text import text_summary
from deepblur.platform.arms.tuning.result import TuningResult, tuning_metrics, tuning_text, write_tuning
from deepblur.platform.arms.uncertainty.report import write_doubt
from deepblur.platform.arms.uncertainty.result import DoubtResult, doubt_metrics, doubt_text
from deepblur.platform.report.curves import png
from deepblur.platform.tracking import names as naming

PICTURES_SHOWN = 4
"""Draws of a study in MLflow's image grid; the report shows them all."""

SUBSETS = ("psf_snr_db", "psnr_gain_db", "ssim_gain")
"""Measures whose means are recorded for each noise level and each η as well."""

Result = StudyResult | MethodsResult | TuningResult | SearchResult | DoubtResult


@dataclass(frozen=True)
class Layout:
    write: Callable[[Any, Path], Path]
    """(result, folder) → the file to open first."""
    text: Callable[[Any], str]
    metrics: Callable[[Any], dict[str, float]]
    """Of the study's run."""
    by_run: Callable[[Any], dict[tuple[str, int], dict[str, float]]] = lambda result: {}
    """Of the runs of its arms, by arm and seed."""
    pictures: Callable[[Any], dict[str, dict[str, list[np.ndarray]]]] = lambda result: {}
    """Of the runs of its arms, those of the first seed: arm → name → pictures (H, W) in [0, 1]."""


def _write_study(result: StudyResult, folder: Path) -> Path:
    report = write_report(result, folder)
    _write_pictures(result, folder / "pictures")
    return report


def _write_pictures(result: StudyResult, folder: Path) -> None:
    """One strip a picture: blurry, restored by each arm, sharp; then the true and the estimated PSF."""
    folder.mkdir(exist_ok=True)
    taken: set[str] = set()
    for picture in result.pictures:
        images = [picture.blurry, *picture.restored.values(), picture.sharp]
        name = naming.file_name(re.sub(r"[ ·]+", "-", picture.title.replace("η", "eta")))
        while name in taken:  # a.png and a.tif
            name += "_"
        taken.add(name)
        (folder / f"{name}.png").write_bytes(png(np.concatenate(images, axis=1), side_px=1200))
        psfs = np.concatenate([picture.psf_true, picture.psf_estimated], axis=1)
        (folder / f"{name}-psf.png").write_bytes(png((psfs / psfs.max()).clip(0) ** 0.5))


def _overall(result: StudyResult) -> dict[str, float]:
    """The summary's overall means and intervals, by arm, and the contrast."""
    table = summary_table(result)
    rows = table[table["group"] == "all"].set_index("arm")
    found = {
        naming.of_arm(str(arm), name): float(value)
        for arm, row in rows.iterrows()
        for name, value in row.items()
        if name.removesuffix("_low").removesuffix("_high") in GAINS
    }
    paired = paired_table(result)
    for row in paired[paired["where"] == "all cells"].to_dict("records"):
        found |= {f"contrast/{row['metric']}/{name}": float(row[name]) for name in ("difference", "low", "high", "p")}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _means(result: MethodsResult) -> dict[str, float]:
    """Every method's means over all draws, where it has them, and the contrast."""
    table = result.summary
    return {
        naming.of_arm(row["arm"], name): float(row[name])
        for row in table[table["group"] == "all"].to_dict("records")
        for name in MEASURES
        if np.isfinite(row[name])
    } | {key: value for name, one in contrast_answers(result).items() for key, value in one.metrics(name).items()}


def _study_runs(result: StudyResult) -> dict[tuple[str, int], dict[str, float]]:
    gains = {name: result.items[m] - (0 if base is None else result.items[base]) for name, (m, base) in GAINS.items()}
    return _by_run(result.items.assign(**gains), (*GAINS, *RESULT_MEASURES))


def _method_runs(result: MethodsResult) -> dict[tuple[str, int], dict[str, float]]:
    found = _by_run(result.scored, tuple(MEASURES))
    for where, rows in result.items.groupby(["arm", "seed"], sort=False):
        lost = int((rows["status"] != OK).sum())
        found.setdefault(where, {})["test/lost_draws"] = float(lost)
    for where, rows in result.scored.groupby(["arm", "seed"], sort=False):
        found[where] |= {"cost/seconds": float(rows["seconds"].median()), "cost/peak_mb": float(rows["peak_mb"].max())}
    return found


def _by_run(items: pd.DataFrame, measures: tuple[str, ...]) -> dict[tuple[str, int], dict[str, float]]:
    """Means of an arm at one seed over all its draws, and over those of each noise level and η, where it has them."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for (arm, seed), rows in items.groupby(["arm", "seed"], sort=False):
        means = {"test": rows[list(measures)].mean()}
        for group in naming.GROUPS:
            levels = rows.groupby(group, sort=False)[list(SUBSETS)]
            if levels.ngroups > 1:
                means |= {naming.subset("test", group, level): here.mean() for level, here in levels}
        found[arm, int(seed)] = {
            f"{place}/{name}": float(mean) for place, some in means.items() for name, mean in some.items()
            if np.isfinite(mean)
        }  # fmt: skip
    return found


def _pictures(result: StudyResult | MethodsResult) -> dict[str, dict[str, list[np.ndarray]]]:
    """What every arm was given and what it made of it, the first few draws."""
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for picture in result.pictures[:PICTURES_SHOWN]:
        for arm in picture.restored:
            psf = picture.psf_estimated if isinstance(picture, Picture) else picture.psfs.get(arm)
            images = {"blurry": picture.blurry, "restored": picture.restored[arm], "sharp": picture.sharp}
            for name, image in {**images, **_shown_psfs(picture.psf_true, psf)}.items():
                if image is not None:
                    found.setdefault(arm, {}).setdefault(name, []).append(image)
    return found


def _shown_psfs(true: np.ndarray | None, estimated: np.ndarray | None) -> dict[str, np.ndarray]:
    """PSFs on one scale, as the root of their values, large enough to be looked at."""
    psfs = {name: psf for name, psf in {"psf_true": true, "psf_estimated": estimated}.items() if psf is not None}
    top = max((float(psf.max()) for psf in psfs.values()), default=1.0)
    return {name: np.kron((psf / top).clip(0) ** 0.5, np.ones((4, 4))) for name, psf in psfs.items()}


LAYOUTS: dict[type, Layout] = {
    StudyResult: Layout(_write_study, text_summary, _overall, _study_runs, _pictures),
    MethodsResult: Layout(write_comparison, comparison_text, _means, _method_runs, _pictures),
    TuningResult: Layout(write_tuning, tuning_text, tuning_metrics),
    SearchResult: Layout(write_search, search_text, search_metrics),
    DoubtResult: Layout(write_doubt, doubt_text, doubt_metrics),
}
