"""From finished stages to the result of a study of trained arms, and what is shown of it where."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from deepblur.platform.arms.trained.pictures import overview, pictures_by_arm, place_of, write_pictures
from deepblur.platform.arms.trained.register import register_models
from deepblur.platform.arms.trained.report import sections, tables
from deepblur.platform.arms.trained.result import (
    KEYS,
    Picture,
    StudyResult,
    paired_table,
    summary_table,
)
from deepblur.platform.arms.trained.text import COLUMNS, contrast_sentences, text_summary
from deepblur.platform.experiment.record import PICTURE, StagesRecord
from deepblur.platform.experiment.result import header, table_and_sentences
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.report.page import Section
from deepblur.platform.report.table import Column, Table
from deepblur.platform.stages.heartbeat import read_rows
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.tracking import names
from deepblur.platform.training.specification import Training

SUBSETS = ("psf_snr_db", "psnr_gain_db", "ssim_gain")
"""Measures whose means are recorded for each noise level and each η as well."""
OUTCOME = {
    "arm": Column("arm"),
    "psnr_gain_db": COLUMNS["psnr_gain_db"],
    "ssim_gain": COLUMNS["ssim_gain"],
    "psf_gain_db": replace(COLUMNS["psf_gain_db"], heading="PSF SNR over the mean PSF (dB)"),
}


class TrainedStudy(StudyResult):
    """A finished study of trained arms, as the experiment asks of it."""

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return {"items": self.items, **tables(self)}

    def sections(self) -> Sequence[Section]:
        return sections(self)

    def write(self, folder: Path) -> Path:
        report = super().write(folder)
        write_pictures(self, folder / "pictures")
        if (image := overview(self)) is not None:
            (folder / PICTURE).write_bytes(image)
        return report

    def text(self) -> str:
        return text_summary(self)

    def metrics(self) -> dict[str, float]:
        return overall(self)

    def outcome(self) -> str:
        rows = summary_table(self)
        table = Table.of(rows[rows["group"] == "all"], OUTCOME)
        return table_and_sentences(table, contrast_sentences(self, paired_table(self)))

    def by_run(self) -> dict[tuple[str, int], dict[str, float]]:
        gains = {
            name: self.items[m] - (0 if base is None else self.items[base]) for name, (m, base) in self.gains.items()
        }
        return means_by_run(self.items.assign(**gains), dict.fromkeys((*gains, *self.measures)))

    def pictures_by_arm(self) -> dict[str, dict[str, list[np.ndarray]]]:
        return pictures_by_arm(self.pictures)

    def finish(self, record: StagesRecord) -> None:
        register_models(record, self)


def collect(plan: Plan, graph: Graph, ledger: Ledger, facts: dict[str, str]) -> TrainedStudy:
    found = [_rows(ledger.folder(key)).assign(arm=arm, seed=seed) for (arm, seed), (key,) in graph.results.items()]
    items = keys_first(pd.concat(found, ignore_index=True))
    return TrainedStudy(
        **header(plan, facts, ledger, graph.works),
        items=items,
        curves=curves(graph, ledger),
        pictures=tuple(_pictures(graph, ledger, items)),
        parameters={arm: plan.study.keywords(arm, plan.settings) for arm in plan.arms},
    )


def overall(result: StudyResult) -> dict[str, float]:
    """The summary's overall means and intervals, by arm, and the contrast."""
    table = summary_table(result)
    rows = table[table["group"] == "all"].set_index("arm")
    found = {
        names.of_arm(str(arm), name): float(value)
        for arm, row in rows.iterrows()
        for name, value in row.items()
        if name.removesuffix("_low").removesuffix("_high") in result.gains
    }
    paired = paired_table(result)
    for row in paired[paired["where"] == "all cells"].to_dict("records"):
        found |= {f"contrast/{row['metric']}/{name}": float(row[name]) for name in ("difference", "low", "high", "p")}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def means_by_run(items: pd.DataFrame, measures: Iterable[str]) -> dict[tuple[str, int], dict[str, float]]:
    """Means of an arm at one seed over all its draws, and over those of each noise level and η, where it has them."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for (arm, seed), rows in items.groupby(["arm", "seed"], sort=False):
        means = {"test": rows[list(measures)].mean()}
        for group in names.GROUPS:
            levels = rows.groupby(group, sort=False)[list(SUBSETS)]
            if levels.ngroups > 1:
                means |= {names.subset("test", group, level): here.mean() for level, here in levels}
        found[arm, int(seed)] = {
            f"{place}/{name}": float(mean) for place, some in means.items() for name, mean in some.items()
            if np.isfinite(mean)
        }  # fmt: skip
    return found


def curves(graph: Graph, ledger: Ledger) -> dict[str, pd.DataFrame]:
    """Training → its curve."""
    return {
        work.label: pd.DataFrame(read_rows(ledger.folder(key) / "curve.jsonl"))
        for key, work in graph.works.items()
        if isinstance(work.stage, Training)
    }


def keys_first(items: pd.DataFrame) -> pd.DataFrame:
    return items[[*KEYS, *(column for column in items.columns if column not in KEYS)]]


def _rows(folder: Path) -> pd.DataFrame:
    """What an evaluation measured; as text where an earlier version wrote it."""
    if (folder / "items.parquet").is_file():
        return pd.read_parquet(folder / "items.parquet")
    kinds = {"noise": str, "image": str}
    return pd.read_csv(folder / "items.csv", dtype=kinds, keep_default_na=False, float_precision="round_trip")


def _pictures(graph: "Graph", ledger: Ledger, items: pd.DataFrame) -> list[Picture]:
    """Those of the first seed, all arms side by side."""
    first = min(seed for _, seed in graph.results)
    arms = {
        arm: np.load(ledger.folder(key) / "pictures.npz")
        for (arm, seed), (key,) in graph.results.items()
        if seed == first
    }
    shared = next(iter(arms.values()))
    pictures = []
    for prefix in dict.fromkeys(name.rpartition("|")[0] for name in shared.files):
        image, noise, eta = place_of(prefix, items)
        here = items[(items.seed == first) & (items.image == image) & (items.noise == noise)
                     & (items.eta_waves == float(eta)) & (items.draw == 0)].set_index("arm")  # fmt: skip
        row = here.iloc[0]
        pictures.append(
            Picture(
                title=f"{image.rpartition('.')[0] or image} · noise {noise} · η {float(eta):.2f}",
                blurry=shared[f"{prefix}|blurry"],
                sharp=shared[f"{prefix}|sharp"],
                restored={arm: arrays[f"{prefix}|restored"] for arm, arrays in arms.items()},
                psf_true=shared[f"{prefix}|psf_true"],
                psf_estimated=shared[f"{prefix}|psf_estimated"],
                captions={
                    "blurry": f"{row.blurry_psnr_db:.1f} dB",
                    "psf": f"{row.psf_snr_db:.1f} dB",
                    **{arm: f"{here.psnr_db[arm]:.1f} dB" for arm in arms},
                },
            )
        )
    return pictures
