"""The stage graph on Ray: trainings through Ray Train, evaluations as tasks, as many at once as the cluster holds."""

import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray._private import ray_constants
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.exceptions import RayTaskError
from ray.train import CheckpointConfig, ControllerError, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deepblur.platform.cluster.address import keep_loopback, on_loopback, private_cluster, running_cluster
from deepblur.platform.cluster.worker_group import OwnGroup, process_group
from deepblur.platform.stages.failure import describe_error, of_the_settings
from deepblur.platform.stages.heartbeat import Meter, write_live
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import writing
from deepblur.platform.system.printable import note
from deepblur.platform.training.in_process import (
    finish_training,
    identifier_weights,
    load_state,
    resume_from,
    save_state,
    training_stage,
)
from deepblur.platform.training.specification import Training
from deepblur.platform.training.trainer import State, result_of, train

Nodes = list[Mapping[str, float]]
"""What each node of the cluster that is alive has in total."""

_GRACE_S = 90.0
"""How long a study waits for nodes that it had and lost."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What every training gets; not part of a stage's identity."""

    workers: int = 1
    """Data-parallel processes per training; where their number is elastic, at most so many."""
    fewest_workers: int | None = None
    """A training starts, and goes on after a node was lost, with as few as this; None: always with `workers`."""
    cpus: int = 1
    """Cores, and threads, per worker. Results are bit for bit the same for the same number of threads and workers."""
    gpus: float = 0
    """GPUs per worker; a fraction lets trainings share one."""
    wait_s: float = 0
    """How long a study waits for nodes that the cluster does not have yet, such as those an autoscaler starts."""

    @property
    def fewest(self) -> int:
        return self.workers if self.fewest_workers is None else self.fewest_workers

    def worker(self) -> dict[str, float]:
        """What one process takes."""
        return {"CPU": float(self.cpus)} | ({"GPU": self.gpus} if self.gpus else {})

    def room(self, nodes: Nodes) -> int:
        """How many workers the nodes hold when nothing else runs; no worker spans two nodes."""
        need = self.worker()
        return sum(min(int(node.get(name, 0.0) / need[name] + 1e-9) for name in need) for node in nodes)

    def processes(self, work: Work, nodes: Nodes) -> int:
        """How many workers a stage takes: everything but a training is one process."""
        if work.stage.processes is not None:
            return work.stage.processes
        return max(self.fewest, min(self.workers, self.room(nodes)))

    def shortage(self, works: Iterable[Work], nodes: Nodes) -> str | None:
        """The sentence that says why not even one of these stages fits on the nodes; None where the largest does."""
        return self.too_few(
            max((self.fewest if work.stage.processes is None else work.stage.processes for work in works), default=0),
            nodes,
        )

    def too_few(self, workers: int, nodes: Nodes) -> str | None:
        """The sentence that says why so many workers do not fit on the nodes; None where they do."""
        room = self.room(nodes)
        if workers <= room:
            return None
        kinds = Counter(_say({name: node.get(name, 0.0) for name in ("CPU", "GPU")}) for node in nodes)
        have = "; ".join(f"{count} x {kind}" for kind, count in kinds.items()) or "no nodes"
        return (
            f"one training needs {workers} worker{'s' * (workers != 1)} of {_say(self.worker())}, and the cluster has "
            f"room for {room} (its nodes: {have}); lower --workers, --cpus or --gpus, add nodes, or let the study wait "
            "for an autoscaler with --wait-for-nodes SECONDS"
        )


def _say(amounts: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in amounts.items() if amount) or "no CPU"


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


def train_on_ray(work: Work, resources: Resources, callbacks: Iterable[UserCallback] = ()) -> dict[str, Any]:
    """Carry out a training stage with Ray Train; the same name and folder again resume it."""
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
            callbacks=[OwnErrorsEnd(), *callbacks],  # type: ignore[list-item]
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


def _carry_out(work: Work, resources: Resources) -> dict[str, Any]:
    if not isinstance(work.stage, Training):
        return work.carry_out()
    with writing(f"stage {work.label}", work.runs):
        return train_on_ray(work, resources)


def set_for_ray(settings: Mapping[str, str]) -> None:
    """Settings of a cluster on the loopback interface, for this process and those that it starts."""
    os.environ.update(settings)
    Config.initialize("")  # Ray read the environment when it was imported
    ray_constants.ENABLE_RAY_CLUSTER = False


def connect() -> None:
    """Join the cluster of this job or machine, or start a local one that ends with this process."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = running_cluster()
    own = cluster in (None, "local")
    if own or on_loopback(str(cluster)):
        set_for_ray(private_cluster() if own else keep_loopback())
    ray.init(
        "local" if own else cluster,
        # a dozen processes that nobody looks at; a cluster that is joined has its own
        include_dashboard=False if own else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}},
    )


def slots() -> tuple[float, float]:
    """Cores and GPUs of the cluster as it is now."""
    have = ray.cluster_resources()
    return have.get("CPU", 0.0), have.get("GPU", 0.0)


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
        ValueError: the cluster cannot hold what is left to do, and that did not change in the time it was given.
    """
    first_trainings = sorted(works, key=lambda work: not isinstance(work.stage, Training))
    waiting = {work.key: work for work in first_trainings}
    running: dict[Any, Work] = {}
    room = _Room(resources)
    try:
        while waiting or running:
            room.look([*waiting.values(), *running.values()])
            unfinished = waiting.keys() | {work.key for work in running.values()}
            for work in list(waiting.values()):
                # Submitted only when it fits: queued tasks would keep the workers of a training from starting.
                if unfinished.isdisjoint(work.inputs.values()) and room.holds(work, running.values()):
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


def trainings_at_once(resources: Resources) -> int:
    """How many trainings the cluster holds at a time.

    Raises:
        ValueError: not even one.
    """
    nodes = _nodes()
    if shortage := resources.too_few(resources.fewest, nodes):
        raise ValueError(shortage)
    return resources.room(nodes) // resources.fewest


def _nodes() -> Nodes:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class _Room:
    """What the cluster holds, looked at again and again: nodes come and go while a study runs."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.nodes: Nodes = []
        self.patience_s = resources.wait_s
        self.short_since: float | None = None

    def look(self, works: Iterable[Work]) -> None:
        """Count the nodes.

        Raises:
            ValueError: they have been too few for one of the stages for longer than the study waits.
        """
        self.nodes = _nodes()
        shortage = self.resources.shortage(works, self.nodes)
        if shortage is None:
            self.short_since, self.patience_s = None, max(self.resources.wait_s, _GRACE_S)
            return
        now = time.monotonic()
        if self.short_since is None:
            self.short_since = now
            if self.patience_s:
                note(f"waiting up to {self.patience_s:.0f} s for nodes: {shortage}")
        if now - self.short_since >= self.patience_s:
            raise ValueError(shortage)

    def holds(self, work: Work, running: Iterable[Work]) -> bool:
        """Whether a stage fits beside those under way, all nodes taken together.

        Where nodes are waited for, twice as much is asked for as there is: an autoscaler grows by what queues.
        """
        others = [self.resources.processes(other, self.nodes) for other in running]
        allowed = self.resources.room(self.nodes) * (2 if self.resources.wait_s else 1)
        first = not others and bool(self.resources.wait_s)
        return first or sum(others) + self.resources.processes(work, self.nodes) <= allowed


def _submit(work: Work, resources: Resources) -> Any:
    here = not isinstance(work.stage, Training)  # Ray Train reserves for its own workers
    options: dict[str, Any] = {"num_cpus": here * resources.cpus, "num_gpus": here * resources.gpus, "max_retries": 2}
    if not here:  # what watches over a training stands beside the driver, not on a node that may be taken back
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
    return ray.remote(_carry_out).options(name=work.label, **options).remote(work, resources)


class StageError(RuntimeError):
    """A stage ended with an error of its own."""

    def __init__(self, work: Work, reason: str) -> None:
        super().__init__(f"stage {work.label} failed: {reason}")
        self.work, self.reason = work, reason
