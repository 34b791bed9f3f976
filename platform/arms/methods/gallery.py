"""The draws on which an arm did worst, as usual, and best: pictures that a mean does not show."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from deepblur.platform.arms.methods.assess import draws, measure
from deepblur.platform.arms.methods.method import Assess, Method
from deepblur.platform.arms.methods.result import OK, MethodPicture
from deepblur.platform.data.store import ImageStore, open_store
from deepblur.platform.evaluation.grid import middle
from deepblur.platform.report.numbers import fixed, signed
from deepblur.platform.system.printable import note
from deepblur.platform.system.whole_files import replace_file

if TYPE_CHECKING:
    from deepblur.platform.experiment.study import Graph, Plan

EACH = 12
KEYS = ("noise", "eta_waves", "image", "draw")
SIDE_PX = 192
"""At most so much of each picture's middle is shown."""


def gallery(plan: "Plan", graph: "Graph", arm: str, *, each: int = EACH) -> list[Path]:
    """Writes RUNS/galleries/STUDY_PRESET/ARM_{worst,median,best}.png, by the gain of PSNR over the blurry input.

    The draws are made again, by the seeds of the study. Nothing is written where the arm was left out, is no `Method`,
    restores nothing, or has networks of its own.

    Args:
        plan: the study as it was carried out.
        graph: its stages, done.
        arm: name of the arm whose draws are shown.
        each: pictures of each of the three kinds.
    Returns:
        The files.
    """
    from deepblur.platform.arms.methods.strips import strips  # Matplotlib only where pictures are made
    from deepblur.platform.report.style import rendered

    method = graph.arms.get((arm, plan.seeds[0]))
    if not isinstance(method, Method) or method.networks:
        return []
    works = [graph.works[key] for key in graph.results[arm, plan.seeds[0]]]
    rows = pd.concat([pd.read_parquet(work.folder / "items.parquet").assign(key=work.key) for work in works])
    rows = rows[(rows["status"] == OK) & rows["psnr_db"].notna() & rows["blurry_psnr_db"].notna()]
    if rows.empty:
        return []
    ordered = rows.assign(gain=rows["psnr_db"] - rows["blurry_psnr_db"]).sort_values(["gain", *KEYS], kind="stable")
    middle = max(0, (len(ordered) - each) // 2)
    chosen = {"worst": ordered.head(each), "median": ordered.iloc[middle:][:each], "best": ordered.tail(each)[::-1]}
    store = open_store(plan.data.test, plan.runs / "cache", progress=False)
    folder = plan.runs / "galleries" / f"{plan.study.name}_{plan.preset}"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, some in chosen.items():
        pictures = []
        for row in some.to_dict("records"):
            stage = graph.works[row["key"]].stage
            assert isinstance(stage, Assess)
            pictures.append(_picture(stage, store, row, arm))
        file = folder / f"{_plain(arm)}_{name}.png"
        replace_file(file, rendered(strips(pictures, [arm]))["png"])
        written.append(file)
    note(f"gallery {folder}: the {each} worst, median and best draws of {arm}")
    return written


def _picture(stage: Assess, store: ImageStore, row: dict[str, Any], arm: str) -> MethodPicture:
    draw = next(draw for draw in draws(stage, store) if all(draw.keys[key] == row[key] for key in KEYS))
    _, found = measure(stage, {}, draw, torch.device("cpu"))
    assert found is not None
    assert draw.truth is not None
    title = f"{row['image']}, noise {row['noise']}, η {row['eta_waves']:.2f}: {signed(row['gain'], 1)} dB"
    psf_said = "" if pd.isna(row["psf_snr_db"]) else f", PSF SNR {fixed(row['psf_snr_db'], 1)}"
    return MethodPicture(
        title=title,
        blurry=_middle(draw.image),
        sharp=_middle(draw.truth.sharp[0, 0]),
        psf_true=draw.truth.psf[0, 0].numpy(),
        restored={arm: _middle(found.image)},
        psfs={arm: None if found.psf is None else found.psf.numpy()},
        captions={"blurry": f"{row['blurry_psnr_db']:.1f} dB", arm: f"{row['psnr_db']:.1f} dB{psf_said}"},
    )


def _middle(image: torch.Tensor) -> Any:
    return middle(image, SIDE_PX).float().numpy()


def _plain(text: str) -> str:
    """Without the characters that a file's name should not have."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")
