"""The stage graph on Ray: trainings through Ray Train, evaluations as tasks, as many at once as the cluster holds."""

from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deepblur.platform.cluster.resources import Resources, Room
from deepblur.platform.cluster.training import train_on_ray
from deepblur.platform.stages.failure import describe_error
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import writing
from deepblur.platform.training.specification import Training


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
    room = Room(resources)
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


def _submit(work: Work, resources: Resources) -> Any:
    here = not isinstance(work.stage, Training)  # Ray Train reserves for its own workers
    options: dict[str, Any] = {"num_cpus": here * resources.cpus, "num_gpus": here * resources.gpus, "max_retries": 2}
    if not here:  # what watches over a training stands beside the driver, not on a node that may be taken back
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
    return ray.remote(_carry_out).options(name=work.label, **options).remote(work, resources)


def _carry_out(work: Work, resources: Resources) -> dict[str, Any]:
    if not isinstance(work.stage, Training):
        return work.carry_out()
    with writing(f"stage {work.label}", work.runs):
        return train_on_ray(work, resources)


class StageError(RuntimeError):
    """A stage ended with an error of its own."""

    def __init__(self, work: Work, reason: str) -> None:
        super().__init__(f"stage {work.label} failed: {reason}")
        self.work, self.reason = work, reason
