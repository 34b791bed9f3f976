"""From finished stages to the result of a comparison of methods, and what is shown of it where."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from deepblur.platform.arms.methods.assess import columns_of
from deepblur.platform.arms.methods.method import FROM_TRUTH, Assess, Method
from deepblur.platform.arms.methods.report import sections, tables
from deepblur.platform.arms.methods.result import EXACT_DB, OK, MethodPicture, MethodsResult
from deepblur.platform.arms.methods.text import comparison_text, contrast_answers, contrast_sentences, measure_column
from deepblur.platform.arms.trained.collect import curves, keys_first, means_by_run
from deepblur.platform.arms.trained.pictures import pictures_by_arm, place_of
from deepblur.platform.data.sources import categories
from deepblur.platform.evaluation.levels import NoiseLevel
from deepblur.platform.experiment.result import header, table_and_sentences
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.report.page import Section
from deepblur.platform.report.table import Column, Table
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.tracking.names import of_arm


class MethodsStudy(MethodsResult):
    """A finished comparison of methods, as the experiment asks of it."""

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return {"items": self.items, **tables(self)}

    @property
    def lead(self) -> str:
        return f"; the reference is {self.reference}"

    def sections(self) -> Sequence[Section]:
        return sections(self)

    def text(self) -> str:
        return comparison_text(self)

    def metrics(self) -> dict[str, float]:
        return overall(self)

    def outcome(self) -> str:
        shown = [name for name in ("psf_snr_db", "psnr_gain_db", "ssim_gain") if self.gives(name)] or ["whiteness"]
        columns = {"arm": Column("arm"), **{name: measure_column(self.measures[name]) for name in shown}}
        table = Table.of(self.summary[self.summary["group"] == "all"], columns)
        return table_and_sentences(table, contrast_sentences(self))

    def by_run(self) -> dict[tuple[str, int], dict[str, float]]:
        found = means_by_run(self.scored, self.measures)
        for where, rows in self.items.groupby(["arm", "seed"], sort=False):
            lost = int((rows["status"] != OK).sum())
            found.setdefault(where, {})["test/lost_draws"] = float(lost)
        for where, rows in self.scored.groupby(["arm", "seed"], sort=False):
            cost = {"seconds": float(rows["seconds"].median()), "peak_mb": float(rows["peak_mb"].max())}
            found[where] |= {f"cost/{name}": value for name, value in cost.items()}
        return found

    def pictures_by_arm(self) -> dict[str, dict[str, list[np.ndarray]]]:
        return pictures_by_arm(self.pictures)


def collect(plan: Plan, graph: Graph, ledger: Ledger, facts: dict[str, str]) -> MethodsStudy:
    items = _assessed(plan, graph, ledger)
    methods: dict[str, Method] = {arm: method for (arm, _), method in graph.arms.items()}
    etas = {method.degradation.eta_waves for method in methods.values()}
    return MethodsStudy(
        **header(plan, facts, ledger, graph.works),
        items=items,
        reference=plan.reference,
        informed=tuple(arm for arm, method in methods.items() if method.psf in FROM_TRUTH),
        trained_eta_waves=methods[plan.reference].degradation.eta_waves if len(etas) == 1 else None,
        trained={arm: (method.degradation.eta_waves, _most_noise(method)) for arm, method in methods.items()},
        curves=curves(graph, ledger),
        pictures=tuple(_pictures(graph, ledger, items)),
        parameters={arm: plan.study.keywords(arm, plan.settings) for arm in plan.arms},
        published=plan.study.published(plan.preset),
    )


def overall(result: MethodsResult) -> dict[str, float]:
    """Every method's means over all draws, where it has them, and the contrast."""
    table = result.summary
    return {
        of_arm(row["arm"], name): float(row[name])
        for row in table[table["group"] == "all"].to_dict("records")
        for name in result.measures
        if np.isfinite(row[name])
    } | {key: value for name, one in contrast_answers(result).items() for key, value in one.metrics(name).items()}


def _most_noise(method: Method) -> float:
    noise = method.degradation.noise
    return NoiseLevel("most", gain=noise.gain[1], read_std=noise.read_std[1]).std


def _assessed(plan: Plan, graph: Graph, ledger: Ledger) -> pd.DataFrame:
    """The rows of every method; a stage that took its process down has rows that say so."""
    found = []
    for (arm, seed), keys in graph.results.items():
        for key in keys:
            file = ledger.folder(key) / "items.parquet"
            done = ledger.done(key) is not None
            table = pd.read_parquet(file) if done else _lost(plan, graph, ledger, key)
            found.append(table.assign(arm=arm, seed=seed))
    items = pd.concat(found, ignore_index=True)
    shown = categories(plan.data.test)
    items["categories"] = [";".join(shown.get(image, ())) for image in items["image"]]
    return keys_first(items)


def _lost(plan: Plan, graph: Graph, ledger: Ledger, key: str) -> pd.DataFrame:
    """The rows of another arm's finished stage on the same image, without its scores."""
    stage = graph.works[key].stage
    assert isinstance(stage, Assess)
    for other, work in graph.works.items():
        like = work.stage
        if isinstance(like, Assess) and like.position == stage.position and ledger.done(other) is not None:
            table = pd.read_parquet(ledger.folder(other) / "items.parquet")
            reason = ledger.error(key) or "the process died"
            return table.assign(
                **dict.fromkeys((*columns_of(stage), "seconds", "peak_mb"), np.nan), status="failed", reason=reason
            )
    raise RuntimeError(f"no method came to an end on image {stage.position}: {ledger.error(key)}")


Where = tuple[str, str, str, str]
"""A picture's image, noise level and η, as the stage names them, and its operator family."""


def _pictures(graph: Graph, ledger: Ledger, items: pd.DataFrame) -> list[MethodPicture]:
    """The pictures of the first seed, all methods side by side that were given the same observation."""
    first = min(seed for _, seed in graph.results)
    found: dict[Where, dict[str, dict[str, np.ndarray]]] = {}  # picture → arm → name → array
    for (arm, seed), keys in graph.results.items():
        for key in keys if seed == first else ():
            if ledger.done(key) is not None:
                with np.load(ledger.folder(key) / "pictures.npz") as arrays:
                    for name in arrays.files:
                        prefix, _, kind = name.rpartition("|")
                        where = (*place_of(prefix, items), _family(graph.arms[arm, seed]))
                        found.setdefault(where, {}).setdefault(arm, {})[kind] = arrays[name]
    if not found:  # every method lost its process on every image that is shown
        return []
    images, noises, _, families = (list(dict.fromkeys(parts)) for parts in zip(*found, strict=True))

    def turn(where: Where) -> tuple[int, int]:
        """So that the first few pictures show other images at other noise levels."""
        image = images.index(where[0])
        return (noises.index(where[1]) - image) % len(noises), image

    rows = items[items.seed == first]
    return [_picture(where, found[where], rows, len(families) > 1) for where in sorted(found, key=turn)]


def _family(method: Method) -> str:
    """What people call the operator family of a method: its Zernike modes."""
    return method.degradation.operator.label


def _picture(
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
