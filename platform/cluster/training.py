"""A training by Ray Train: its workers, and what of a worker's death is another's to go on from.

A single worker is the process that asks for it, in Ray Train's local mode, and costs nothing beside its steps. Several
are a worker group, with a controller and five helpers, each a process that imports torch: 12 to 17 s of two cores.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import ray.train
from ray.train import CheckpointConfig, ControllerError, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer

from deepblur.platform.cluster.resources import Resources
from deepblur.platform.cluster.worker_group import OwnGroup, process_group
from deepblur.platform.stages.failure import of_the_settings
from deepblur.platform.stages.heartbeat import Meter, write_live
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import writing
from deepblur.platform.training.in_process import (
    carry_out,
    finish_training,
    identifier_weights,
    load_state,
    resume_from,
    save_state,
    training_stage,
)
from deepblur.platform.training.trainer import State, result_of, train


class RayRun:
    """A training run as one worker of Ray Train."""

    def __init__(self, work: Work) -> None:
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self._live = work.live
        self._heartbeat = work.heartbeat(self.rank)

    def resume(self) -> State | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return resume_from(Path(folder) / "state.pt")

    def alive(self, step: int) -> None:
        self._heartbeat.alive(step)

    def report(self, row: dict[str, float], state: State | None) -> None:
        if state is None:
            ray.train.report({})
            return
        write_live(self._live, state["history"])
        with tempfile.TemporaryDirectory() as folder:
            save_state(state, Path(folder) / "state.pt")
            ray.train.report(row, checkpoint=ray.train.Checkpoint.from_directory(folder))
        self._heartbeat.saved(state["step"])


def _worker(config: dict[str, Any]) -> None:
    work: Work = config["work"]
    with writing(f"stage {work.label}", work.runs):
        work.prepare()
        run = RayRun(work)
        with process_group(run.device):
            train(training_stage(work), cache=work.cache, identifier=identifier_weights(work), run=run)


class OwnErrorsEnd(UserCallback):
    """Ends a training at an error that would come again. A worker that died with its node or process is replaced."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the first error of our own code: peers of a dead worker see no more than a RuntimeError."""
        for error in worker_exceptions.values():
            own = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
            if isinstance(error, own) or of_the_settings(error):
                raise error


def train_alone(work: Work) -> dict[str, Any]:
    """Carry out a training stage with Ray Train by one worker, this process; called again, it resumes."""
    found: dict[str, Any] = {}
    scaling = ScalingConfig(num_workers=0)  # Ray Train's local mode
    TorchTrainer(lambda: found.update(carry_out(work, lambda: None)), scaling_config=scaling).fit()
    return found


def train_in_group(work: Work, resources: Resources) -> dict[str, Any]:
    """Carry out a training stage with Ray Train by a group of workers; the same name and folder again resume it."""
    meter = Meter()
    elastic = resources.fewest < resources.workers
    # A fixed number waits in the cluster's queue, and what never fits is found by the driver. An elastic one may have
    # counted a node that had just died: then it has to give up the queue and count again.
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "30" if elastic else str(24 * 3600)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"work": work},
        torch_config=OwnGroup(),
        scaling_config=ScalingConfig(
            num_workers=(resources.fewest, resources.workers) if elastic else resources.workers,  # type: ignore[arg-type]
            use_gpu=resources.gpus > 0,
            resources_per_worker=resources.worker(),
        ),
        run_config=RunConfig(
            name=work.key,
            storage_path=str(work.scratch.parent),
            failure_config=FailureConfig(  # type: ignore[call-arg]
                max_failures=3, controller_failure_limit=-1 if elastic else 3
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            callbacks=[OwnErrorsEnd()],  # type: ignore[list-item]
        ),
    )
    try:
        result = trainer.fit()
    except ControllerError as error:
        raise error.controller_failure from None
    if result.error is not None:
        raise result.error
    if result.checkpoint is None:
        raise RuntimeError(f"the training {work.label} ended without a checkpoint; see the log of its worker")
    with result.checkpoint.as_directory() as folder:
        state = result_of(load_state(Path(folder) / "state.pt"))
    return finish_training(work, state, meter)
