"""The stage graph on Ray: trainings through Ray Train, evaluations as tasks, as many at once as the cluster holds."""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.exceptions import RayTaskError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from deepblur.platform.cluster import running_cluster
from deepblur.platform.disk import writing
from deepblur.platform.dispatch import carry_out_here
from deepblur.platform.execution import (
    Work,
    describe_error,
    finish_training,
    identifier_weights,
    load_state,
    resume_from,
    save_state,
    training_stage,
    write_live,
)
from deepblur.platform.journal import Meter
from deepblur.platform.stages import Training
from deepblur.platform.training import State, result_of, train


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What every training gets; not part of a stage's identity."""

    workers: int = 1
    """Data-parallel processes per training."""
    cpus: int = 1
    """Cores, and threads, per worker. Results are bit for bit the same for the same number of threads and workers."""
    gpus: float = 0
    """GPUs per worker; a fraction lets trainings share one."""

    def of(self, work: Work) -> dict[str, float]:
        """What a stage takes: a training its workers, everything else one process."""
        processes = self.workers if isinstance(work.stage, Training) else 1
        return {"CPU": processes * self.cpus, "GPU": processes * self.gpus}

    def check(self, cluster: dict[str, float]) -> dict[str, float]:
        """What the cluster has of what is asked for.

        Raises:
            ValueError: not even one training fits.
        """
        need = {"CPU": self.workers * self.cpus, "GPU": self.workers * self.gpus}
        have = {name: cluster.get(name, 0.0) for name in need}
        short = [name for name in need if need[name] > have[name]]
        if short:
            wanted = ", ".join(f"{need[n]:g} {n}s (the cluster has {have[n]:g})" for n in short)
            raise ValueError(
                f"one training with {self.workers} workers needs {wanted}; lower --workers, --cpus or --gpus, "
                "or add nodes"
            )
        return have


class RayRun:
    """A training run as one worker of Ray Train."""

    def __init__(self, work: Work) -> None:
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self._live = work.live
        self._journal = work.journal(self.rank)

    def resume(self) -> State | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return resume_from(Path(folder) / "state.pt")

    def alive(self, step: int) -> None:
        self._journal.alive(step)

    def report(self, row: dict[str, float], state: State | None) -> None:
        if state is None:
            ray.train.report({})
            return
        write_live(self._live, state["history"])
        with tempfile.TemporaryDirectory() as folder:
            save_state(state, Path(folder) / "state.pt")
            ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))
        self._journal.saved(state["step"])


def _worker(config: dict[str, Any]) -> None:
    work: Work = config["work"]
    with writing(f"stage {work.label}", work.runs):
        work.prepare()
        train(training_stage(work), cache=work.cache, identifier=identifier_weights(work), run=RayRun(work))


def train_on_ray(work: Work, resources: Resources) -> dict[str, Any]:
    """Carry out a training stage with Ray Train; the same name and folder again resume it."""
    meter = Meter()
    per_worker = {"CPU": float(resources.cpus)} | ({"GPU": resources.gpus} if resources.gpus else {})
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"work": work},
        scaling_config=ScalingConfig(
            num_workers=resources.workers, use_gpu=resources.gpus > 0, resources_per_worker=per_worker
        ),
        run_config=RunConfig(
            name=work.key,
            storage_path=str(work.scratch.parent),
            failure_config=FailureConfig(max_failures=3, controller_failure_limit=3),  # type: ignore[call-arg]
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    result = trainer.fit()
    if result.error is not None:
        raise result.error
    if result.checkpoint is None:
        raise RuntimeError(f"the training {work.label} ended without a checkpoint; see the log of its worker")
    with result.checkpoint.as_directory() as folder:
        state = result_of(load_state(Path(folder) / "state.pt"))
    return finish_training(work, state, meter)


def _carry_out(work: Work, resources: Resources) -> dict[str, Any]:
    if not isinstance(work.stage, Training):
        return carry_out_here(work)
    with writing(f"stage {work.label}", work.runs):
        return train_on_ray(work, resources)


def connect() -> None:
    """Join the cluster of this job or machine, or start a local one that ends with this process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    variables = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
    ray.init(
        running_cluster() or "local",
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": variables},
        ignore_reinit_error=True,
    )


def run_on_ray(
    works: Iterable[Work],
    resources: Resources,
    *,
    on_start: Callable[[Work], Work],
    on_done: Callable[[Work, dict[str, Any]], None],
    on_crash: Callable[[Work, str], bool],
    on_wait: Callable[[list[Work]], None],
) -> None:
    """Carry out all stages, each as soon as what it needs is done.

    Args:
        works: the stages that are not done yet, each once.
        on_start: told before a stage is submitted; gives it its attempt number.
        on_done: told after a stage's folder is complete.
        on_crash: told that a stage took its process down, and how; says whether the study can do without it.
        on_wait: told about once a second which stages are under way.
    Raises:
        StageError: a stage failed that the study needs; the others under way are cancelled.
    """
    first_trainings = sorted(works, key=lambda work: not isinstance(work.stage, Training))
    waiting = {work.key: work for work in first_trainings}
    have = resources.check(ray.cluster_resources())
    running: dict[Any, Work] = {}
    try:
        while waiting or running:
            unfinished = waiting.keys() | {work.key for work in running.values()}
            for work in list(waiting.values()):
                # Submitted only when it fits: queued tasks would keep the workers of a training from starting.
                if unfinished.isdisjoint(work.inputs.values()) and _fits(work, running.values(), resources, have):
                    del waiting[work.key]
                    work = on_start(work)
                    running[_submit(work, resources)] = work
            ready, _ = ray.wait(list(running), timeout=1.0)
            on_wait(list(running.values()))
            for reference in ready:
                work = running.pop(reference)
                try:
                    result = ray.get(reference)
                except Exception as error:
                    own = isinstance(error, RayTaskError)  # raised by our code, not the death of its process
                    if own or not on_crash(work, describe_error(error)):
                        raise StageError(work, describe_error(error)) from error
                else:
                    on_done(work, result)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _fits(work: Work, running: Iterable[Work], resources: Resources, have: dict[str, float]) -> bool:
    taken = [resources.of(other) for other in (*running, work)]
    return all(sum(t[name] for t in taken) <= have[name] for name in have)


def _submit(work: Work, resources: Resources) -> Any:
    here = not isinstance(work.stage, Training)  # Ray Train reserves for its own workers
    options = {"num_cpus": here * resources.cpus, "num_gpus": here * resources.gpus, "max_retries": 2}
    return ray.remote(_carry_out).options(name=work.label, **options).remote(work, resources)


class StageError(RuntimeError):
    """A stage ended with an error of its own."""

    def __init__(self, work: Work, reason: str) -> None:
        super().__init__(f"stage {work.label} failed: {reason}")
        self.work, self.reason = work, reason
