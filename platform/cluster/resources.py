"""What a training takes, and how many of them the nodes of the cluster hold, which come and go while a study runs."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ray

from deepblur.platform.stages.stage import Work
from deepblur.platform.system.printable import note

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

    def in_group(self, work: Work) -> bool:
        """Whether a stage is carried out by a group of workers, one worker of an elastic group included."""
        return work.stage.processes is None and self.workers > 1

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


def slots() -> tuple[float, float]:
    """Cores and GPUs of the cluster as it is now."""
    have = ray.cluster_resources()
    return have.get("CPU", 0.0), have.get("GPU", 0.0)


def fits(resources: Resources) -> bool:
    """Whether any node that there is now holds one worker."""
    return resources.room(_nodes()) > 0


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


class Room:
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
