"""Carry out an `Evaluate` stage: one trained arm on the whole grid."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from deepblur.platform.arms.trained.arm import Evaluate
from deepblur.platform.arms.trained.measure import latency_ms, measure, picture_arrays
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import cells
from deepblur.platform.evaluation.measure import name_of
from deepblur.platform.stages.stage import Work
from deepblur.platform.training.in_process import load_network

PICTURES = 3
"""Images of the grid whose first draw is kept as a picture, at every noise level of the largest η seen in training."""


def carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """Carry out an evaluation stage in this process."""
    work.prepare()
    stage = work.stage
    assert isinstance(stage, Evaluate)
    meter = work.begin()
    degradation = stage.arm.identify.degradation
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    identifier = load_network(work.runs, work.inputs["identify"], stage.arm.identify).to(device)
    deblurrer = load_network(work.runs, work.inputs["deblur"], stage.arm.deblur).to(device)
    store = open_store(stage.test, work.cache, progress=False)
    tables, pictures, shown = [], dict[str, Any](), set[str]()
    eta_waves = max(e for e in stage.grid.eta_waves if e <= _at_most(stage))
    for drawn in cells(stage.grid, degradation, store):  # on the CPU: the same draws on every machine
        cell = replace(drawn, batch=drawn.batch.to(device))
        tables.append(measure(cell, identifier, deblurrer, degradation, stage.scores))
        if len(shown | {cell.image}) <= PICTURES and cell.eta_waves == eta_waves:
            shown.add(cell.image)
            for name, array in picture_arrays(cell, identifier, deblurrer, degradation.operator).items():
                pictures[f"{cell.image}|{cell.noise.name}|{cell.eta_waves}|{name}"] = array
    table = pd.concat(tables, ignore_index=True)
    temporary = work.unfinished_folder()
    table.to_parquet(temporary / "items.parquet", index=False)
    np.savez(temporary / "pictures.npz", **pictures)
    own = tuple(map(name_of, stage.scores))
    means = {name: float(table[name].mean()) for name in table if name.endswith(("_db", "ssim")) or name in own}
    means["latency_ms"] = latency_ms(cell, identifier, deblurrer, degradation.operator)
    return work.settle(temporary, means, meter)


def _at_most(stage: Evaluate) -> float:
    """η up to which pictures are chosen: that of the training, or the grid's smallest where all are larger."""
    return max(stage.arm.identify.degradation.eta_waves, min(stage.grid.eta_waves))
