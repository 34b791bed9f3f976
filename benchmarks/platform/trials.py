"""Trials of which nothing but the scheduling takes time: the loop by itself, and on Ray Tune."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fresh import fresh
from overhead import work_of

from deepblur.platform.arms.methods.method import Assess, Method
from deepblur.platform.arms.search.history import History
from deepblur.platform.arms.search.loop import END, Job, Loop
from deepblur.platform.arms.search.pruning import costs
from deepblur.platform.arms.search.search import Sampler, Search
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.data.sources import parse_data
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.stages.stage import Work
from deepblur.studies.search_unroll_noise_eta import STUDY

DATA = parse_data("dead-leaves")
SILENT: Any = SimpleNamespace(started=lambda *_: None, rows=lambda *_: None, ended=lambda *_: None)
Works = Callable[[Arm, int], tuple[Work, ...]]


class Results(dict):
    """What the loop wants of a ledger, in memory; every stage that is done has the same result."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def done(self, key: str) -> dict[str, float] | None:
        return self.get(key)

    def attempts(self, key: str) -> int:
        return 0

    def start(self, key: str, kind: str, label: str, processes: int | None = 1) -> int:
        return 1

    def folder(self, key: str) -> Path:
        return self.runs / "stages" / key

    def finish(self, key: str, result: Mapping[str, Any]) -> None:
        self[key] = {"psnr_db": float(len(self) % 7), "blurry_psnr_db": 0.0, "ssim": 0.0, "blurry_ssim": 0.0,
                     "psf_snr_db": 0.0, "latency_ms": 1.0, "seconds": result["seconds"]}  # fmt: skip


def search(sampler: Sampler, trials: int) -> Search:
    """The space, objectives and defaults of `search_unroll_noise_eta`, quick; nothing is pruned."""
    settings = {**STUDY.presets["quick"].settings, "trials": trials, "pruner": "none"}
    return replace(STUDY.arm(sampler=sampler, data=DATA, seed=0, **settings), sampler=sampler)


def grid() -> Grid:
    found = STUDY.presets["quick"].grid
    assert isinstance(found, Grid)
    return found


def made_up(runs: Path) -> Works:
    """One stage a trial, which nobody carries out."""

    def works(arm: Arm, number: int) -> tuple[Work, ...]:
        stage: Any = SimpleNamespace(kind="evaluate", processes=1)
        return (Work(stage=stage, key=str(number), label="", attempt=0, runs=runs, inputs={}, code="", pixels={},
                     threads=1),)  # fmt: skip

    return works


def loop_alone(sampler: Sampler, trials: int, folder: Path) -> tuple[list[float], float, float]:
    """Seconds of every trial; of the last one's suggestion, and of counting the operations of one configuration."""
    wanted = search(sampler, trials)
    loop = Loop(wanted, grid(), History(folder, wanted, "here"), Results(folder), made_up(folder), 1, SILENT)
    took = []
    start = time.perf_counter()
    while (job := loop.next()) != END:
        assert isinstance(job, Job)
        loop.done(job, job.works[0], {"seconds": 0.0})
        took.append(time.perf_counter() - start)
        start = time.perf_counter()
    start = time.perf_counter()
    wanted.suggest(trials, loop.history.trials)
    suggested = time.perf_counter()
    costs(wanted.configuration(wanted.defaults, grid()), grid())
    return took, suggested - start, time.perf_counter() - suggested


def trivial(runs: Path) -> Works:
    """One stage a trial: to measure the blurry image of a few pixels against the sharp one."""
    pixels = {DATA.test: open_store(DATA.test, runs / "cache", progress=False).fingerprint}

    def works(arm: Arm, number: int) -> tuple[Work, ...]:
        small = replace(grid(), noise=grid().noise[:1], eta_waves=(0.1,), images=1, draws=1, crop_px=48, seed=number)
        method = Method(degradation=arm.identify.degradation, psf="none", image="blurry")
        stage = Assess(method=method, grid=small, test=DATA.test, position=0)
        return (Work(stage=stage, key=stage.key(pixels), label=f"trial {number}", attempt=0, runs=runs, inputs={},
                     code=stage.code(), pixels=pixels, threads=1),)  # fmt: skip

    return works


def short_training(runs: Path) -> Works:
    """One stage a trial: a training of one step, through Ray Train."""

    def works(arm: Arm, number: int) -> tuple[Work, ...]:
        once = replace(arm.identify.optimization, steps=1, batch=8, validations=1, validation_draws=8)
        return (work_of(replace(arm.identify, optimization=once, seed=number), runs),)

    return works


def on_ray(runs: Path, tasks: int, trainings: int) -> dict[str, tuple[int, float, float]]:
    """Name → (how many, seconds of all with two at a time, seconds of one stage itself)."""
    from deepblur.platform.arms.search.ray_trials import run_trials
    from deepblur.platform.cluster.connection import connect
    from deepblur.platform.cluster.queue import run_on_ray
    from deepblur.platform.cluster.resources import Resources, trainings_at_once

    connect()
    resources = Resources()
    concurrent = trainings_at_once(resources)

    def tune(name: str, trials: int, works: Works) -> tuple[int, float, float]:
        wanted, results = search("random", trials), Results(runs)
        loop = Loop(wanted, grid(), History(runs / name, wanted, "here"), results, works, concurrent, SILENT)
        start = time.perf_counter()
        run_trials(loop, resources)
        took = time.perf_counter() - start
        if not len(results) == len(loop.history) == trials:
            raise RuntimeError(f"{trials} trials were asked for, {len(results)} are done; see Ray's logs")
        return trials, took, statistics.median(result["seconds"] for result in results.values())

    found = {"trials of one task": tune("task", tasks, trivial(runs))}
    works = trivial(runs)
    arm = search("random", 1).configuration({}, grid())
    stages = [works(arm, 10_000 + number)[0] for number in range(tasks)]
    seconds: list[float] = []
    start = time.perf_counter()
    run_on_ray(stages, resources, on_start=lambda work: replace(work, attempt=1), on_wait=lambda _: None,
               on_done=lambda _, result: seconds.append(result["seconds"]), on_crash=lambda *_: False)  # fmt: skip
    found["the same tasks, no trials"] = (tasks, time.perf_counter() - start, statistics.median(seconds))
    found["trials that train one step"] = tune("training", trainings, short_training(runs))
    return found


def trials(folder: Path, quick: bool) -> Iterator[str]:
    """The section's lines."""
    count = 40 if quick else 200
    yield f"the search loop by itself, {count} trials with made-up results, two objectives"
    yield f"{'':16}{'s':>8}{'ms a trial':>12}{'the last tenth':>16}{'a suggestion':>14}{'operations':>12}"
    for sampler in ("tpe", "random"):
        took, suggestion, counting = fresh(loop_alone, sampler, count, folder / sampler)
        late = statistics.mean(took[-count // 10 :])
        columns = f"{sum(took):8.1f}{1e3 * sum(took) / count:12.0f}{1e3 * late:16.0f}"
        yield f"{sampler:16}{columns}{1e3 * suggestion:14.0f}{1e3 * counting:12.0f}"
    found = fresh(on_ray, folder / "ray", *((6, 2) if quick else (30, 4)))
    yield f"{'on Ray Tune':32}{'number':>8}{'s':>8}{'s each':>8}{'of it the stage':>17}"
    for name, (number, seconds, stage) in found.items():
        yield f"{name:32}{number:8}{seconds:8.1f}{seconds / number:8.2f}{stage:17.2f}"
