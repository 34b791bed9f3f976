"""Gather a study's finished stages into the result that the report lays out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from deepblur.platform.arms.methods.assess import SCORES
from deepblur.platform.arms.methods.method import FROM_TRUTH, Assess, Method
from deepblur.platform.arms.methods.result import EXACT_DB, MethodPicture, MethodsResult
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.arms.trained.result import KEYS, Picture, StudyResult
from deepblur.platform.arms.tuning.result import Tuned, TuningResult
from deepblur.platform.arms.tuning.tuning import Tune, Tuning
from deepblur.platform.arms.uncertainty.result import DoubtResult, rows_of
from deepblur.platform.arms.uncertainty.uncertainty import Doubt
from deepblur.platform.data.sources import categories
from deepblur.platform.evaluation.levels import Grid, NoiseLevel
from deepblur.platform.experiment.result import Result
from deepblur.platform.experiment.study import Plan
from deepblur.platform.stages.cost import cost_of
from deepblur.platform.stages.heartbeat import read_rows
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.training.specification import Training

if TYPE_CHECKING:
    from deepblur.platform.experiment.study import Graph


def collect(plan: Plan, graph: "Graph", ledger: Ledger, facts: Mapping[str, str]) -> Result:
    """Everything measured and learned, from the folders of the stages."""
    kinds = {type(arm) for arm in graph.arms.values()}
    if len(kinds) > 1:
        raise ValueError(f"all arms of a study are of one kind; {plan.study.name} has {len(kinds)}")
    gather = {Arm: _arms, Method: _methods, Tuning: _tunings, Doubt: _doubts}[kinds.pop()]
    return gather(plan, graph, ledger, dict(facts))


def _arms(plan: Plan, graph: "Graph", ledger: Ledger, facts: dict[str, str]) -> StudyResult:
    items = _items(graph, ledger)
    return StudyResult(
        **_shared(plan, facts),
        cost=cost_of(ledger, graph.works),
        abstract=plan.study.abstract,
        items=items,
        contrast=plan.contrast,
        curves=_curves(graph, ledger),
        pictures=tuple(_pictures(graph, ledger, items)),
        parameters={arm: plan.study.keywords(arm, plan.settings) for arm in plan.arms},
    )


def _methods(plan: Plan, graph: "Graph", ledger: Ledger, facts: dict[str, str]) -> MethodsResult:
    items = _assessed(plan, graph, ledger)
    methods = {arm: method for (arm, _), method in graph.arms.items() if isinstance(method, Method)}
    reference = _reference(plan)
    etas = {method.degradation.eta_waves for method in methods.values()}
    return MethodsResult(
        **_shared(plan, facts),
        cost=cost_of(ledger, graph.works),
        abstract=plan.study.abstract,
        items=items,
        reference=reference,
        contrast=plan.contrast,
        informed=tuple(arm for arm, method in methods.items() if method.psf in FROM_TRUTH),
        trained_eta_waves=methods[reference].degradation.eta_waves if len(etas) == 1 else None,
        trained={arm: (method.degradation.eta_waves, _most_noise(method)) for arm, method in methods.items()},
        curves=_curves(graph, ledger),
        pictures=tuple(_method_pictures(graph, ledger, items)),
        parameters={arm: plan.study.keywords(arm, plan.settings) for arm in plan.arms},
        published=plan.study.published(plan.preset),
    )


def _most_noise(method: Method) -> float:
    noise = method.degradation.noise
    return NoiseLevel("most", gain=noise.gain[1], read_std=noise.read_std[1]).std


def _tunings(plan: Plan, graph: "Graph", ledger: Ledger, facts: dict[str, str]) -> TuningResult:
    searches = []
    for (arm, seed), keys in graph.results.items():
        for key in keys:
            stage = graph.works[key].stage
            assert isinstance(stage, Tune)
            best = json.loads((ledger.folder(key) / "best.json").read_text())
            trials = read_rows(ledger.folder(key) / "trials.jsonl")
            searches.append(Tuned(arm, stage.noise, best["default"], best["tuned"], trials, seed))
    return TuningResult(
        **_shared(plan, facts),
        cost=cost_of(ledger, graph.works),
        searches=tuple(searches),
        contrast=plan.contrast,
    )


def _doubts(plan: Plan, graph: "Graph", ledger: Ledger, facts: dict[str, str]) -> DoubtResult:
    assert isinstance(plan.grid, Grid)
    tables = []
    for (name, seed), keys in graph.results.items():
        arm = graph.arms[name, seed]
        assert isinstance(arm, Doubt)
        readings = [pd.read_parquet(ledger.folder(key) / "items.parquet") for key in keys]
        tables.append(rows_of(arm, readings, plan.grid.crop_px).assign(arm=name, seed=seed))
    return DoubtResult(
        **_shared(plan, facts),
        cost=cost_of(ledger, graph.works),
        abstract=plan.study.abstract,
        items=pd.concat(tables, ignore_index=True),
        reference=_reference(plan),
        contrast=plan.contrast,
    )


def _reference(plan: Plan) -> str:
    """The arm that all others are compared with: the first of the contrast, or the first that was asked for."""
    return plan.contrast[0] if plan.contrast[0] in plan.arms else plan.arms[0]


def _shared(plan: Plan, facts: dict[str, str]) -> dict[str, Any]:
    study = plan.study
    return {"name": study.name, "title": study.title, "preset": plan.preset, "command": plan.command, "facts": facts}


def _curves(graph: "Graph", ledger: Ledger) -> dict[str, pd.DataFrame]:
    return {
        work.label: pd.DataFrame(read_rows(ledger.folder(key) / "curve.jsonl"))
        for key, work in graph.works.items()
        if isinstance(work.stage, Training)
    }


def _assessed(plan: Plan, graph: "Graph", ledger: Ledger) -> pd.DataFrame:
    """The rows of every method; a stage that took its process down has rows that say so."""
    tables = []
    for (arm, seed), keys in graph.results.items():
        for key in keys:
            file = ledger.folder(key) / "items.parquet"
            done = ledger.done(key) is not None
            table = pd.read_parquet(file) if done else _lost(plan, graph, ledger, key)
            tables.append(table.assign(arm=arm, seed=seed))
    items = pd.concat(tables, ignore_index=True)
    shown = categories(plan.data.test)
    items["categories"] = [";".join(shown.get(image, ())) for image in items["image"]]
    return _keys_first(items)


def _keys_first(items: pd.DataFrame) -> pd.DataFrame:
    return items[[*KEYS, *(column for column in items.columns if column not in KEYS)]]


def _lost(plan: Plan, graph: "Graph", ledger: Ledger, key: str) -> pd.DataFrame:
    """The rows of another arm's finished stage on the same image, without its scores."""
    stage = graph.works[key].stage
    assert isinstance(stage, Assess)
    for other, work in graph.works.items():
        like = work.stage
        if isinstance(like, Assess) and like.position == stage.position and ledger.done(other) is not None:
            table = pd.read_parquet(ledger.folder(other) / "items.parquet")
            reason = ledger.error(key) or "the process died"
            return table.assign(
                **dict.fromkeys((*SCORES, "seconds", "peak_mb"), np.nan), status="failed", reason=reason
            )
    raise RuntimeError(f"no method came to an end on image {stage.position}: {ledger.error(key)}")


Where = tuple[str, str, str, str]
"""A picture's image, noise level and η, as the stage names them, and its operator family."""


def _method_pictures(graph: "Graph", ledger: Ledger, items: pd.DataFrame) -> list[MethodPicture]:
    """The pictures of the first seed, all methods side by side that were given the same observation."""
    first = min(seed for _, seed in graph.results)
    found: dict[Where, dict[str, dict[str, np.ndarray]]] = {}  # picture → arm → name → array
    for (arm, seed), keys in graph.results.items():
        for key in keys if seed == first else ():
            if ledger.done(key) is not None:
                with np.load(ledger.folder(key) / "pictures.npz") as arrays:
                    for name in arrays.files:
                        prefix, _, kind = name.rpartition("|")
                        where = (*_place(prefix, items), _family(graph.arms[arm, seed]))
                        found.setdefault(where, {}).setdefault(arm, {})[kind] = arrays[name]
    if not found:  # every method lost its process on every image that is shown
        return []
    images, noises, _, families = (list(dict.fromkeys(parts)) for parts in zip(*found, strict=True))

    def turn(where: Where) -> tuple[int, int]:
        """So that the first few pictures show other images at other noise levels."""
        image = images.index(where[0])
        return (noises.index(where[1]) - image) % len(noises), image

    rows = items[items.seed == first]
    return [_method_picture(where, found[where], rows, len(families) > 1) for where in sorted(found, key=turn)]


def _place(prefix: str, items: pd.DataFrame) -> tuple[str, str, str]:
    """Image, noise level and η of a picture's name, IMAGE|NOISE|η, whatever bars the names of both have."""
    both, _, eta = prefix.rpartition("|")
    rows = items.drop_duplicates(["image", "noise"])
    return next((row.image, row.noise, eta) for row in rows.itertuples() if f"{row.image}|{row.noise}" == both)


def _family(method: Any) -> str:
    """What people call the operator family of a method: its Zernike modes."""
    assert isinstance(method, Method)
    return method.degradation.operator.label


def _method_picture(
    where: Where, arms: dict[str, dict[str, np.ndarray]], items: pd.DataFrame, name_family: bool
) -> MethodPicture:
    image, noise, eta, family = where
    rows = items[(items.image == image) & (items.noise == noise) & (items.eta_waves == float(eta)) & (items.draw == 0)]
    captions = {row.arm: _caption(row) for row in rows.itertuples()}
    row = rows[rows.arm.isin(list(arms))].iloc[0]
    captions["blurry"] = f"{row.blurry_psnr_db:.1f} dB" if np.isfinite(row.blurry_psnr_db) else ""
    some = next(iter(arms.values()))
    cell = f" · noise {noise} · η {float(eta):.2f}" + f" · {family}" * name_family if "sharp" in some else ""
    return MethodPicture(
        title=f"{image.rpartition('.')[0] or image}{cell}",
        blurry=some["blurry"],
        sharp=some.get("sharp"),
        psf_true=some.get("psf_true"),
        restored={arm: arrays.get("restored") for arm, arrays in arms.items()},
        psfs={arm: arrays.get("psf") for arm, arrays in arms.items()},
        residuals={arm: arrays.get("residual") for arm, arrays in arms.items()},
        captions=captions,
    )


def _caption(row: Any) -> str:
    if row.status != "ok":
        return row.status
    known = {"{:.1f} dB": row.psnr_db, "PSF {:.1f} dB": row.psf_snr_db}
    return ", ".join(text.format(value) for text, value in known.items() if value < EXACT_DB)  # NaN is not below it


def _items(graph: "Graph", ledger: Ledger) -> pd.DataFrame:
    tables = []
    for (arm, seed), (key,) in graph.results.items():
        tables.append(_rows(ledger.folder(key)).assign(arm=arm, seed=seed))
    return _keys_first(pd.concat(tables, ignore_index=True))


def _rows(folder: Path) -> pd.DataFrame:
    """What an evaluation measured; as text where an earlier version wrote it."""
    if (folder / "items.parquet").is_file():
        return pd.read_parquet(folder / "items.parquet")
    names = {"noise": str, "image": str}
    return pd.read_csv(folder / "items.csv", dtype=names, keep_default_na=False, float_precision="round_trip")


def _pictures(graph: "Graph", ledger: Ledger, items: pd.DataFrame) -> list[Picture]:
    """The pictures of the first seed, all arms side by side."""
    first = min(seed for _, seed in graph.results)
    arms = {
        arm: np.load(ledger.folder(key) / "pictures.npz")
        for (arm, seed), (key,) in graph.results.items()
        if seed == first
    }
    shared = next(iter(arms.values()))
    pictures = []
    for prefix in dict.fromkeys(name.rpartition("|")[0] for name in shared.files):
        image, noise, eta = _place(prefix, items)
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
