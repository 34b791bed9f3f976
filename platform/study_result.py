"""Gather a study's finished stages into the result that the report lays out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deepblur.platform.execution import read_rows
from deepblur.platform.ledger import Ledger
from deepblur.platform.results import KEYS, Picture, StudyResult
from deepblur.platform.study_cli import Plan

if TYPE_CHECKING:
    from deepblur.platform.study_run import Graph


def collect(plan: Plan, graph: "Graph", ledger: Ledger, facts: Mapping[str, str]) -> StudyResult:
    """Everything measured and learned, from the folders of the stages."""
    study, items = plan.study, _items(graph, ledger)
    return StudyResult(
        name=study.name,
        title=study.title,
        abstract=study.abstract,
        preset=plan.preset,
        command=plan.command,
        items=items,
        contrast=plan.contrast,
        curves={
            work.label: pd.DataFrame(read_rows(ledger.folder(key) / "curve.jsonl"))
            for key, work in graph.works.items()
            if work.stage.kind != "evaluate"
        },
        pictures=tuple(_pictures(graph, ledger, items)),
        facts=dict(facts),
        parameters={arm: study.keywords(arm, plan.settings) for arm in plan.arms},
    )


def _items(graph: "Graph", ledger: Ledger) -> pd.DataFrame:
    tables = []
    for (arm, seed), key in graph.evaluations.items():
        table = pd.read_csv(ledger.folder(key) / "items.csv", dtype={"noise": str, "image": str})
        tables.append(table.assign(arm=arm, seed=seed))
    items = pd.concat(tables, ignore_index=True)
    return items[[*KEYS, *(column for column in items.columns if column not in KEYS)]]


def _pictures(graph: "Graph", ledger: Ledger, items: pd.DataFrame) -> list[Picture]:
    """The pictures of the first seed, all arms side by side."""
    first = min(seed for _, seed in graph.evaluations)
    arms = {
        arm: np.load(ledger.folder(key) / "pictures.npz")
        for (arm, seed), key in graph.evaluations.items()
        if seed == first
    }
    shared = next(iter(arms.values()))
    pictures = []
    for prefix in dict.fromkeys(name.rpartition("|")[0] for name in shared.files):
        image, noise, eta = prefix.split("|")
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
