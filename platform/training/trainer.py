"""The trainer: one ordinary function for every network, with or without Ray, that resumes bit for bit.

Every step is a pure function of (stage, step), so a run that was killed and resumed from any checkpoint ends with the
same bits as an undisturbed one on the same hardware with the same number of threads and workers.
"""

import contextlib
import math
import time
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from deepblur.platform.data.observations import BLOCK, Batch, draw_batch
from deepblur.platform.data.store import open_store
from deepblur.platform.evaluation.grid import cells
from deepblur.platform.system.errors import SettingsError
from deepblur.platform.system.memory import PeakMemory
from deepblur.platform.system.seeds import stream
from deepblur.platform.training.specification import Deblur, Identify, Joint, Optimization, Restore, Training
from deepblur.platform.training.tasks import DeblurTask, IdentifyTask, JointTask, RestoreTask, Task, build

State = dict[str, Any]


class Run(Protocol):
    """Where a training run stands: its place among the workers, its device, its checkpoints."""

    rank: int
    world_size: int
    device: torch.device

    def resume(self) -> State | None:
        """The newest complete checkpoint of this stage, or None at the start."""

    def alive(self, step: int) -> None:
        """Called by every worker before every step, with the number of steps done."""

    def report(self, row: dict[str, float], state: State | None) -> None:
        """Called by every worker at every validation; row and state are rank 0's."""


class Trainer:
    """Network, optimiser, schedule and averages of one run; `state()` and `load()` hold all that a resume needs."""

    def __init__(self, task: Task, settings: Optimization, seed: int, run: Run) -> None:
        self.task, self.settings, self.run = task, settings, run
        with torch.random.fork_rng(devices=[]):  # torch's initialisers know only the global generator
            torch.manual_seed(stream(seed, "weights"))
            network = task.network()
        self.network = network.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if run.world_size > 1 and run.device.type == "cuda":
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.average = None
        if settings.ema is not None:
            update = get_ema_multi_avg_fn(settings.ema)
            self.average = AveragedModel(self.network, multi_avg_fn=update, use_buffers=True)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.lr)
        self.scheduler = _scheduler(self.optimizer, settings)
        self.parallel = DistributedDataParallel(self.network) if run.world_size > 1 else self.network
        self.weight = 1.0
        """Of this worker's mean loss, so that the mean over workers is the mean over the batch."""
        self.step = 0
        self.history: list[dict[str, float]] = []

    def update(self, batch: Batch) -> float:
        """One optimiser step; the loss averaged over all workers."""
        self.network.train()
        with self._autocast():
            loss = self.weight * self.task.loss(self.parallel, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.step += 1
        value = loss.detach()
        if self.run.world_size > 1:
            dist.all_reduce(value)
            value /= self.run.world_size
        return float(value)

    @torch.no_grad()
    def validate(self, held_out: dict[str, list[Batch]]) -> dict[str, float]:
        """Means over each set of held-out draws: val_psnr_db on those of "val", grid_psnr_db on those of "grid"."""
        network = self.best().eval()
        row = {}
        for place, batches in held_out.items():
            with self._autocast():
                parts = [self.task.measure(network, batch) for batch in batches]
            for name in parts[0]:
                row[name.replace("val", place, 1)] = float(torch.cat([p[name].double() for p in parts]).mean())
        return row

    def best(self) -> nn.Module:
        """The network to validate and keep: the moving average where there is one."""
        return self.network if self.average is None else self.average.module

    def state(self) -> State:
        average = None if self.average is None else self.average.state_dict()
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": average,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {k: v for k, v in self.scheduler.state_dict().items() if not callable(v)},
            "rng": torch.get_rng_state(),
            "history": self.history,
        }

    def load(self, state: State) -> None:
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"].cpu())
        self.step, self.history = state["step"], state["history"]

    def _autocast(self) -> contextlib.AbstractContextManager:
        reduced = self.settings.precision == "bfloat16"
        return torch.autocast(self.run.device.type, dtype=torch.bfloat16, enabled=reduced)


def train(stage: Training, *, cache: Path, identifier: State | None, run: Run) -> State:
    """Train the stage's network from its newest checkpoint to its last step.

    Args:
        stage: what to train.
        cache: folder of the decoded images.
        identifier: weights of the IN that a Deblur stage is trained on or a Joint stage starts from; None where it uses
            the true γ or starts from nothing.
        run: the place of this process among the workers, and its checkpoints.
    Returns: {"weights": state dict on the CPU, "history": one row per validation}; in a row train_s are the
        seconds of training so far, without validation, and peak_mb the most memory that this process took for it.
    Raises:
        SettingsError: the batch is no multiple of 8, or smaller than 8 × workers.
        FloatingPointError: the loss is not finite.
    """
    settings, degradation = stage.optimization, stage.degradation
    blocks = _blocks(settings.batch, run)
    memory = PeakMemory(run.device)
    store = open_store(stage.train, cache, progress=False).to(run.device)
    trainer = Trainer(_task(stage, identifier, run.device), settings, stage.seed, run)
    trainer.weight = len(blocks) * BLOCK * run.world_size / settings.batch
    state = run.resume()
    if state is not None:
        trainer.load(state)
    held_out = _validation_draws(stage, cache, run) if run.rank == 0 else {}
    marks = {math.ceil(settings.steps * (i + 1) / settings.validations) for i in range(settings.validations)}
    losses: list[float] = []
    started = time.perf_counter()
    while trainer.step < settings.steps:
        run.alive(trainer.step)
        batch = draw_batch(store, degradation, stage.seed, "train", trainer.step, blocks, run.device)
        losses.append(trainer.update(batch))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the loss is {losses[-1]} at step {trainer.step} of {settings.steps}; lower lr (now {settings.lr}) "
                f"or set clip_norm (now {settings.clip_norm})"
            )
        if trainer.step in marks:
            row = {"step": float(trainer.step), "loss": sum(losses) / len(losses)}
            row["lr"] = trainer.optimizer.param_groups[0]["lr"]
            spent_s = time.perf_counter() - started
            row["images_per_s"] = len(losses) * settings.batch / spent_s
            row["train_s"] = spent_s + (trainer.history[-1]["train_s"] if trainer.history else 0.0)
            row["peak_mb"] = memory.used_mb()
            if run.rank == 0:
                row |= trainer.validate(held_out)
                trainer.history.append(row)
            run.report(row, trainer.state() if run.rank == 0 else None)
            losses, started = [], time.perf_counter()
    return result_of(trainer.state())


def result_of(state: State) -> State:
    """The finished network's weights and curve, out of its last checkpoint."""
    average = state["average"]
    weights = state["network"]
    if average is not None:
        weights = {k.removeprefix("module."): v for k, v in average.items() if k.startswith("module.")}
    kept = {k: v.detach().cpu().contiguous().clone() for k, v in weights.items()}  # apart, though they may be shared
    return {"weights": kept, "history": state["history"]}


def _scheduler(optimizer: torch.optim.Optimizer, settings: Optimization) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    # one cycle: a tenth of the run, at least a step, to warm up, then a cosine to zero; Adam's betas stay as they are
    total = settings.steps + 1
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=total, pct_start=max(0.1, 2 / total), cycle_momentum=False
    )


def _blocks(batch: int, run: Run) -> range:
    """This worker's share of the step's blocks; shares differ by at most one."""
    if batch % BLOCK or batch < BLOCK * run.world_size:
        raise SettingsError(
            f"batch must be a multiple of {BLOCK} and at least {BLOCK} x {run.world_size} workers, so that draws do "
            f"not depend on the number of workers; got {batch}"
        )
    count = batch // BLOCK
    return range(run.rank * count // run.world_size, (run.rank + 1) * count // run.world_size)


def _task(stage: Training, identifier: State | None, device: torch.device) -> Task:
    if isinstance(stage, Identify):
        return IdentifyTask(stage)
    if isinstance(stage, Restore):
        return RestoreTask(stage)
    if stage.needs() and identifier is None:
        raise ValueError("this stage trains on estimated operators: it needs the weights of its identification network")
    if isinstance(stage, Joint):
        return JointTask(stage, identifier)
    assert isinstance(stage, Deblur)
    if stage.identify is None:
        return DeblurTask(stage, None)
    assert identifier is not None
    network = build(stage.identify)
    network.load_state_dict(identifier)
    return DeblurTask(stage, network.to(device))


def _validation_draws(stage: Training, cache: Path, run: Run) -> dict[str, list[Batch]]:
    """The same held-out observations for every seed, so that curves of different seeds can be compared."""
    store = open_store(stage.validation, cache, progress=False)
    blocks = range(math.ceil(stage.optimization.validation_draws / BLOCK))
    batch = draw_batch(store.to(run.device), stage.degradation, 0, "validation", 0, blocks, run.device)
    held_out = {"val": batch.split(4 * BLOCK)}
    if stage.monitor is not None:
        drawn = cells(stage.monitor, stage.degradation, store)  # on the CPU, as in the evaluation
        held_out["grid"] = [cell.batch.to(run.device) for cell in drawn]
    return held_out
