"""Tune a handcrafted method's settings at one noise level: Optuna on validation images, trial 0 the published defaults.

Every trial is a pure function of the trials before it, which lie in a file: a search that was killed goes on where it
was and ends with the same bits.
"""

import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepblur.baselines import DivergedError
from deepblur.platform.arms.methods.assess import time_limit
from deepblur.platform.arms.methods.method import Method, estimate
from deepblur.platform.arms.tuning.space import Between, OneOf
from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import image_cells, usable_images
from deepblur.platform.evaluation.levels import Grid, NoiseLevel
from deepblur.platform.evaluation.metrics import psf_snr_db, psnr_db
from deepblur.platform.experiment.arm import Stores, StudyArm
from deepblur.platform.experiment.study import Plan
from deepblur.platform.stages.heartbeat import Meter, read_rows, write_live
from deepblur.platform.stages.stage import Stage, Work
from deepblur.platform.system.printable import note
from deepblur.platform.system.seeds import stream
from deepblur.platform.tracking.names import subset

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FAILED_DB = -20.0
"""Gain that a draw counts with on which the method came to no estimate: far worse than any restoration."""


@dataclass(frozen=True, kw_only=True)
class Tuning(StudyArm):
    """A handcrafted method with the settings to search; trial 0 leaves them at their defaults.

    Raises:
        ValueError: a method or a setting that cannot be tuned, or no trial.
    """

    gatherer: ClassVar[str] = "platform/arms/tuning/collect"

    method: Method
    """What is tuned; its own settings are kept."""
    space: Mapping[str, Between | OneOf]
    """Keyword of the handcrafted function → where to search."""
    trials: int
    """At least 1, at each noise level."""

    def __post_init__(self) -> None:
        function = self.method.handcrafted()
        if function is None:
            raise ValueError(f"only a handcrafted method has settings to tune; got {self.method.image!r}")
        known = inspect.signature(function).parameters
        for name in self.space:
            if name not in known:
                raise ValueError(f"{function.__name__} has no setting {name!r} to search; it has {', '.join(known)}")
        if self.trials < 1:
            raise ValueError(f"a search has at least one trial, that of the defaults; got {self.trials}")

    @property
    def label(self) -> str:
        return f"{self.method.label}, tuned"

    def stages(self, plan: Plan, seed: int, stores: Stores) -> Sequence[Stage]:
        grid, held = plan.grid, plan.data.validation
        assert isinstance(grid, Grid)
        return [Tune(tuning=self, noise=level, grid=grid, validation=held, seed=seed) for level in grid.noise]

    def defaults(self) -> dict[str, Any] | None:
        """The searched settings' defaults; None where the function derives one from the image."""
        known = inspect.signature(self.method.handcrafted() or estimate).parameters
        found = {name: self.method.settings.get(name, known[name].default) for name in self.space}
        return None if None in found.values() else found


@dataclass(frozen=True, kw_only=True)
class Tune(Stage):
    """Search one method's settings at one noise level; the objective is the mean PSNR gain over the blurry input."""

    kind: ClassVar[str] = "tune"
    title: ClassVar[str] = "tuning"
    entry: ClassVar[tuple[str, ...]] = ("platform/arms/tuning/tuning", "platform/training/tasks")

    tuning: Tuning
    noise: NoiseLevel
    grid: Grid
    validation: tuple[Source, ...]
    seed: int

    def part(self) -> str:
        return f"noise {self.noise.name}"

    def steps(self) -> int:
        return self.tuning.trials

    def headline(self, row: Mapping[str, Any]) -> str:
        if "tuned_gain_db" in row:
            return f"PSNR gain {row['tuned_gain_db']:.2f} dB (defaults {row['default_gain_db']:.2f})"
        return f"best PSNR gain {row['best_gain_db']:.2f} dB"

    def measured(self, result: Mapping[str, Any]) -> dict[str, float]:
        gains = {name: result[name] for name in ("default_gain_db", "tuned_gain_db") if name in result}
        return {f"{subset('val', 'noise', self.noise.name)}/{name}": gain for name, gain in gains.items()}

    def runs(self) -> tuple[str, ...]:
        return (*self.entry, *self.tuning.method.code())

    def uses(self) -> tuple[Any, ...]:
        return self.tuning.method.functions()

    def needs(self) -> tuple[Stage, ...]:
        return self.tuning.method.networks

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        return (self.validation,)


def carry_out(work: Work, watch: Callable[[], None]) -> dict[str, Any]:
    """Carry out a search in this process; its folder gets `trials.jsonl` and `best.json`."""
    work.prepare()
    stage = work.stage
    assert isinstance(stage, Tune)
    meter, heartbeat = Meter(), work.heartbeat()
    observations = _observations(stage, work)
    trials = _before(work.scratch / "trials.jsonl")
    space = {name: part.distribution() for name, part in stage.tuning.space.items()}
    while len(trials) < stage.tuning.trials:
        heartbeat.alive(len(trials))
        settings = _suggest(stage, space, trials)
        trials.append({"settings": settings, **_try(stage, settings, observations)})
        write_live(work.scratch / "trials.jsonl", trials)
        heartbeat.saved(len(trials))
        write_live(work.live, [{"step": len(trials), "best_gain_db": max(t["psnr_gain_db"] for t in trials)}])
    best = max(trials, key=lambda trial: trial["psnr_gain_db"])  # the first of equals, so the defaults win a tie
    temporary = work.unfinished_folder()
    write_live(temporary / "trials.jsonl", trials)
    (temporary / "best.json").write_text(json.dumps({"default": trials[0], "tuned": best}, indent=2))
    gains = {"default_gain_db": trials[0]["psnr_gain_db"], "tuned_gain_db": best["psnr_gain_db"]}
    return work.settle(temporary, {**gains, "trials": len(trials)}, meter)


def _before(file: Path) -> list[dict[str, Any]]:
    """The trials of an attempt that was killed; none where the file is damaged, so that the search begins anew."""
    try:
        return read_rows(file)
    except ValueError:
        note(f"the trials in {file} are damaged; their search begins anew")
        return []


def _observations(stage: Tune, work: Work) -> list[tuple[int, Any]]:
    """(position, batch of one) of every validation draw at this noise level and all η of the grid."""
    store = open_store(stage.validation, work.cache, progress=False)
    degradation = stage.tuning.method.degradation
    found = []
    for position in range(len(usable_images(stage.grid, degradation.operator, store))):
        for cell in image_cells(stage.grid, degradation, store, position):
            if cell.noise == stage.noise:
                found += [(position, truth) for truth in cell.batch.split(1)]
    return found


def _suggest(stage: Tune, space: Mapping[str, "BaseDistribution"], trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The next trial's settings: the defaults first, then TPE, seeded by the trial's number."""
    if not trials:
        return {}
    import optuna  # a heavy import, and a study is built without it

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=stream(stage.seed, "tune", len(trials)) % 2**32, n_startup_trials=5)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for done in trials:
        params = done["settings"] or stage.tuning.defaults()
        if params is not None:  # a default that follows the image is no point of the search space
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=dict(space), value=done["psnr_gain_db"])
            )
    return dict(study.ask(dict(space)).params)


def _try(stage: Tune, settings: Mapping[str, Any], observations: list[tuple[int, Any]]) -> dict[str, Any]:
    method = stage.tuning.method
    tried = replace(method, settings={**method.settings, **settings})
    border = method.degradation.operator.psf_shape[0] // 2
    gains, psf_snrs, failed = [], [], 0
    started = time.perf_counter()
    for position, truth in observations:
        seed = stream(stage.grid.seed, "method", position, 0)
        try:
            with time_limit(stage.grid.limit_s):
                found = estimate(tried, {}, truth.blurry[0, 0], truth, level=None, seed=seed)
        except (DivergedError, TimeoutError, MemoryError, ValueError) as error:
            if isinstance(error, (MemoryError, ValueError)) and not settings and not isinstance(error, DivergedError):
                raise  # not of the settings: these are the defaults
            gains.append(FAILED_DB)
            failed += 1
            continue
        before = float(psnr_db(truth.blurry, truth.sharp, border))
        gains.append(float(psnr_db(found.image[None, None], truth.sharp, border)) - before)
        if found.psf is not None:
            psf_snrs.append(float(psf_snr_db(found.psf[None, None], truth.psf)))
    return {
        "psnr_gain_db": float(np.mean(gains)),
        "psf_snr_db": float(np.mean(psf_snrs)) if psf_snrs else FAILED_DB,
        "failed": failed,
        "seconds_per_image": (time.perf_counter() - started) / len(observations),
        "gains_db": [[position, gain] for (position, _), gain in zip(observations, gains, strict=True)],
    }
