"""One training stage: a plain PyTorch loop, the same stage with --local, the same through Ray Train."""

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from fresh import fresh
from safetensors.torch import load_file
from torch import Tensor, nn

from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.data.observations import BLOCK, draw_batch
from deepblur.platform.data.sources import parse_data
from deepblur.platform.data.store import open_store
from deepblur.platform.stages.heartbeat import cpu_seconds
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.seeds import stream
from deepblur.platform.training.specification import Identify
from deepblur.platform.training.tasks import IdentifyTask
from deepblur.studies.ablation_true_vs_est import STUDY

PERCENT_GOAL, FIXED_GOAL_S = 3.0, 5.0
CPU = torch.device("cpu")


@dataclass
class Timing:
    """Clock times of one way to carry the stage out, in seconds since the epoch, and what it came to."""

    began: float
    """Before the first step."""
    ended: float
    """After the last validation, its checkpoint included where there is one."""
    cpu_s: float
    """Processor time between the two."""
    images_per_s: float
    """Median over the validations, which are not counted themselves."""
    weights: str
    started: float = 0.0
    """When the process was started, as the parent saw it."""
    imported: float = 0.0
    asked: float = 0.0
    """When the stage was asked for: after the imports and, where there is Ray, when its cluster was there."""
    told: float = 0.0
    """When the result was there."""
    gone: float = 0.0
    """When the process had ended."""
    fixed_again_s: float = math.nan
    """`fixed_s` of a second training of the same driver."""

    @property
    def before_s(self) -> float:
        return self.began - self.started

    @property
    def loop_s(self) -> float:
        return self.ended - self.began

    @property
    def after_s(self) -> float:
        return self.gone - self.ended

    @property
    def fixed_s(self) -> float:
        """All of the stage that is not its loop."""
        return self.began - self.asked + self.told - self.ended


def stage(steps: int) -> Identify:
    """IN of the quick preset of `ablation_true_vs_est`, on photographs that come with the packages."""
    settings = {**STUDY.presets["quick"].settings, "in_steps": steps}
    arm = STUDY.build("true", settings=settings, data=parse_data("photos"), seed=0)
    assert isinstance(arm, Arm)
    return arm.identify


def work_of(wanted: Identify, runs: Path) -> Work:
    stores = {sources: open_store(sources, runs / "cache", progress=False) for sources in wanted.reads()}
    pixels = {sources: store.fingerprint for sources, store in stores.items()}
    return Work(stage=wanted, key=wanted.key(pixels), label="IN", attempt=1, runs=runs, inputs={},
                code=wanted.code(), pixels=pixels, threads=1)  # fmt: skip


def digest(weights: dict[str, Tensor]) -> str:
    parts = b"".join(weights[name].detach().contiguous().numpy().tobytes() for name in sorted(weights))
    return hashlib.blake2b(parts, digest_size=8).hexdigest()


def bare(wanted: Identify, cache: Path) -> Timing:
    """The stage as one would write it in a notebook: the same draws, steps and validations, nothing kept."""
    torch.set_num_threads(1)
    asked = time.time()
    settings, task = wanted.optimization, IdentifyTask(wanted)
    store, held_out = (open_store(sources, cache, progress=False) for sources in wanted.reads())
    torch.manual_seed(stream(wanted.seed, "weights"))
    network = task.network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    total = settings.steps + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=total, pct_start=max(0.1, 2 / total), cycle_momentum=False
    )
    blocks = range(settings.validation_draws // BLOCK)
    validation = draw_batch(held_out, wanted.degradation, 0, "validation", 0, blocks, CPU).split(4 * BLOCK)
    rates: list[float] = []
    began, cpu_s, mark, seen = time.time(), cpu_seconds(), time.perf_counter(), 0
    for step in range(settings.steps):
        network.train()
        batch = draw_batch(store, wanted.degradation, wanted.seed, "train", step, range(settings.batch // BLOCK), CPU)
        loss = task.loss(network, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm or float("inf"))
        optimizer.step()
        schedule.step()
        loss.item()
        seen += 1
        if (step + 1) * settings.validations % settings.steps < settings.validations:
            rates.append(seen * settings.batch / (time.perf_counter() - mark))
            network.eval()
            with torch.no_grad():
                [task.measure(network, part) for part in validation]
            mark, seen = time.perf_counter(), 0
    ended, spent = time.time(), cpu_seconds() - cpu_s
    weights = digest(network.state_dict())
    return Timing(began, ended, spent, statistics.median(rates), weights, asked=asked, told=time.time())


def local(work: Work) -> Timing:
    """As --local does it."""
    asked = time.time()
    with Ledger(work.runs) as ledger:
        work = replace(work, attempt=ledger.start(work.key, work.stage.kind, work.label, 1))
        result = work.carry_out()
        timing = _of_heartbeats(work)
        ledger.finish(work.key, result)
    return replace(timing, asked=asked, told=time.time())


def through_ray(work: Work) -> Timing:
    """As a study does it: a driver, a ledger, Ray Train. A second training, a short one, follows."""
    from deepblur.platform.cluster.connection import connect
    from deepblur.platform.cluster.queue import run_on_ray
    from deepblur.platform.cluster.resources import Resources, slots

    imported = time.time()
    connect()
    with Ledger(work.runs) as ledger:

        def carry_out(some: Work) -> Timing:
            asked = time.time()
            found: list[Timing] = []

            def done(attempt: Work, result: dict[str, Any]) -> None:
                told = time.time()
                found.append(replace(_of_heartbeats(attempt), asked=asked, told=told))
                ledger.finish(attempt.key, result)

            run_on_ray(
                [some], Resources(), on_done=done, on_crash=lambda *_: False,
                on_start=lambda w: replace(w, attempt=ledger.start(w.key, w.stage.kind, w.label, 1)),
                on_wait=lambda _: ledger.beat(*slots()),
            )  # fmt: skip
            return found[0]

        first = carry_out(work)
        second = carry_out(work_of(stage(10), work.runs))
    return replace(first, imported=imported, fixed_again_s=second.fixed_s)


def _of_heartbeats(work: Work) -> Timing:
    lines = [json.loads(line) for line in (work.live.parent / f"{work.key}.0.cost").read_text().splitlines()]
    first, last = lines[0], [line for line in lines if line["saved"]][-1]
    rates = [json.loads(line)["images_per_s"] for line in (work.folder / "curve.jsonl").read_text().splitlines()]
    weights = digest(load_file(work.folder / "weights.safetensors"))
    return Timing(first["time"], last["time"], last["cpu_s"] - first["cpu_s"], statistics.median(rates), weights)


def _timed(function: Callable[..., Timing], *arguments: Any) -> Timing:
    started = time.time()
    timing = fresh(function, *arguments)
    return replace(timing, started=started, gone=time.time())


def overhead(folder: Path, quick: bool) -> Iterator[str]:
    """The section's lines."""
    work_of(stage(10), folder / "trial")
    trial = _timed(bare, stage(10), folder / "trial" / "cache")
    steps = 10 * round((8 if quick else 60) * trial.images_per_s / stage(10).optimization.batch / 10)
    wanted = stage(steps)
    ways: dict[str, list[Timing]] = {"bare": [], "local": [], "Ray": []}
    for turn, order in enumerate((("bare", "local", "Ray"), ("bare",))):
        for way in order:
            work = work_of(wanted, folder / f"{way}-{turn}")
            calls = {"bare": (bare, wanted, work.cache), "local": (local, work), "Ray": (through_ray, work)}
            ways[way].append(_timed(*calls[way]))
    shown = {"bare loop": ways["bare"][0], "again": ways["bare"][1], "--local": ways["local"][0], "Ray": ways["Ray"][0]}
    bare_loop, bare_cpu = (statistics.mean(getattr(t, name) for t in ways["bare"]) for name in ("loop_s", "cpu_s"))
    pauses = {name: t.loop_s - steps * wanted.optimization.batch / t.images_per_s for name, t in shown.items()}
    settings = wanted.optimization
    yield f"{steps} steps of {settings.batch}, {settings.validations} validations, one thread"
    yield f"{'':41}" + "".join(f"{name:>11}" for name in shown)
    yield _row("start of process to first step, s", [t.before_s for t in shown.values()])
    yield _row("loop, s", [t.loop_s for t in shown.values()])
    yield _row("last step to end of process, s", [t.after_s for t in shown.values()])
    yield _row("loop, more than bare, %", [100 * (t.loop_s / bare_loop - 1) for t in shown.values()])
    yield _row("loop, more processor time than bare, %", [100 * (t.cpu_s / bare_cpu - 1) for t in shown.values()])
    yield _row("images/s between validations", [t.images_per_s for t in shown.values()])
    yield _row("a validation and its checkpoint, s", [s / settings.validations for s in pauses.values()], digits=2)
    yield from _judged(shown, bare_loop)


def _row(name: str, values: list[float], digits: int = 1) -> str:
    return f"{name:41}" + "".join(f"{value:11.{digits}f}" for value in values)


def _judged(shown: dict[str, Timing], bare_loop: float) -> Iterator[str]:
    """The goals; fixed seconds are those beyond what the bare loop takes."""
    bare_s = min(shown["bare loop"].fixed_s, shown["again"].fixed_s)
    ray = shown["Ray"]
    yield f"the start of Ray, once a study: {ray.asked - ray.imported:.1f} s"
    yield f"{'':41}{'--local':>11}{'Ray':>11}{'then on Ray':>13}"
    percent = [100 * (shown[name].loop_s / bare_loop - 1) for name in ("--local", "Ray")]
    yield f"{'longer in the loop, %':41}{percent[0]:+11.1f}{percent[1]:+11.1f}{_verdict(percent, PERCENT_GOAL)}"
    fixed = [seconds - bare_s for seconds in (shown["--local"].fixed_s, ray.fixed_s, ray.fixed_again_s)]
    yield f"{'fixed, s a stage':41}{fixed[0]:+11.1f}{fixed[1]:+11.1f}{fixed[2]:+13.1f}{_verdict(fixed, FIXED_GOAL_S)}"
    same = len({timing.weights for timing in shown.values()}) == 1
    yield "all end with the same weights, bit for bit" if same else "THE WEIGHTS DIFFER: it was not the same work"


def _verdict(values: list[float], goal: float) -> str:
    return f"   goal < {goal:g} {'met' if max(values) < goal else 'missed'}"
