"""The stage graph on Ray: trainings through Ray Train, all as tasks, as many at once as the cluster holds."""

from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deepblur.platform.cluster.resources import Resources, Room
from deepblur.platform.cluster.training import train_alone, train_in_group
from deepblur.platform.stages.failure import describe_error
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import writing
from deepblur.platform.training.specification import Training

_AGAIN = 3
"""How often a stage whose process was lost is begun again."""


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
    running: dict[Any, UnderWay] = {}
    room = Room(resources)
    try:
        while waiting or running:
            under_way = [begun.work for begun in running.values()]
            room.look([*waiting.values(), *under_way])
            unfinished = waiting.keys() | {work.key for work in under_way}
            for work in list(waiting.values()):
                # Submitted only when it fits: queued tasks would keep the workers of a training from starting.
                if unfinished.isdisjoint(work.inputs.values()) and room.holds(work, under_way):
                    del waiting[work.key]
                    begun = UnderWay(on_start(work), resources)
                    running[begun.reference] = begun
                    under_way.append(begun.work)
            ready, _ = ray.wait(list(running), timeout=1.0)
            on_wait(under_way)
            for reference in ready:
                begun = running.pop(reference)
                try:
                    result = begun.result()
                except Exception as error:
                    own = isinstance(error, RayTaskError)
                    if own or not on_crash(begun.work, describe_error(error)):
                        raise StageError(begun.work, describe_error(error)) from error
                    continue
                if result is None:
                    running[begun.reference] = begun
                else:
                    on_done(begun.work, result)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


class UnderWay:
    """A stage under way on the cluster, begun again where its process is lost.

    Ray's own retries would go on for ever with a stage that takes more memory than there is.

    Args:
        options: further ones of the Ray task that carries it out.
    """

    def __init__(self, work: Work, resources: Resources, **options: Any) -> None:
        self.work, self.resources = work, resources
        if resources.in_group(work):
            # Ray Train reserves for its own workers; what watches over them stands beside the driver, not on a node
            # that may be taken back.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
            options |= {"num_cpus": 0, "scheduling_strategy": here}
        else:
            options |= {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
        self._task = ray.remote(_carry_out).options(name=work.label, max_retries=0, **options)
        self._again = _AGAIN
        self.reference = self._task.remote(work, resources)

    def result(self) -> dict[str, Any] | None:
        """What the stage came to, waited for; None: its process was lost, and it has begun again.

        Raises:
            RayError: the stage's own error, or the death of its process once too often.
        """
        try:
            return ray.get(self.reference)
        except RayTaskError:  # raised by our code, not the death of its process
            raise
        except RayError:
            if not self._again:
                raise
        self._again -= 1
        self.reference = self._task.remote(self.work, self.resources)
        return None


def _carry_out(work: Work, resources: Resources) -> dict[str, Any]:
    if not isinstance(work.stage, Training):
        return work.carry_out()
    with writing(f"stage {work.label}", work.runs):
        return train_in_group(work, resources) if resources.in_group(work) else train_alone(work)


class StageError(RuntimeError):
    """A stage ended with an error of its own."""

    def __init__(self, work: Work, reason: str) -> None:
        super().__init__(f"stage {work.label} failed: {reason}")
        self.work, self.reason = work, reason
