"""The processes of a Ray cluster as a crew: a task for each image, on whatever node has room.

Images, results and models lie in folders that all nodes see under the same paths, and deepblur is installed on each.
The frames of a large file are restored apart, by a task for some of them each, and one more writes them.
"""

import itertools
import math
import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deepblur.platform.system.code import code_of
from deepblur.platform.system.errors import InputError, ModelError
from deepblur.platform.system.printable import say
from deepblur.restoration.batch.image_files import Outcome
from deepblur.restoration.batch.many import Crew, Death, Event
from deepblur.restoration.batch.ownership import Item
from deepblur.restoration.batch.worker import Errand, on_node
from deepblur.restoration.formats.files import open_image

if TYPE_CHECKING:
    from deepblur.platform.cluster.tasks import Tasks
    from deepblur.restoration.batch.restoring import Restoring

PART_VALUES = 2**25
"""What a task restores at least of a file: half a minute, beside which it counts little that each reads all of it once,
for what the values have in common."""
_TOLD = ("MLFLOW_TRACKING_URI", "DEEPBLUR_RUNS")
"""Of the environment: where models are looked for. They go with the work, not into Ray's records: one may be secret."""


@dataclass
class _Apart:
    """An image whose frames are restored apart."""

    item: Item
    frames: list[range]
    parts: dict[int, dict[str, Any]] = field(default_factory=dict)
    """First frame → what its task gave."""

    @property
    def length(self) -> int:
        return self.frames[-1].stop


class ClusterTasks(Crew):
    """Tasks on a cluster.

    Args:
        job: what each does with an image.
        address: HOST:PORT, or auto.
        workers: how many at a time; None: as many as the cluster has cores, now and when it grows.
        threads: of each, and so many cores are its own.
    """

    def __init__(self, job: "Restoring", address: str, workers: int | None, threads: int) -> None:
        gpus = 1 if job.engine.device.startswith("cuda") else 0
        self.job = replace(job, engine=replace(job.engine, device="cuda" if gpus else "cpu"))
        self.address, self.workers, self.threads, self.gpus = address, workers, threads, gpus
        self._stack = ExitStack()
        self._tasks: Tasks
        self._apart: dict[int, _Apart] = {}
        self._waiting: deque[tuple[int, Item, range]] = deque()

    def __enter__(self) -> "ClusterTasks":
        from deepblur.platform.cluster.connection import joined  # Ray takes seconds that only its users pay
        from deepblur.platform.cluster.resources import Resources, fits
        from deepblur.platform.cluster.tasks import Tasks

        self._stack.enter_context(joined(self.address))
        environment = {name: os.environ[name] for name in _TOLD if name in os.environ}
        code = code_of(["restoration/batch/worker", "restoration/batch/restoring"], ())
        errand = Errand(self.job, self.threads, os.getcwd(), environment, code)
        self._tasks = Tasks(on_node, errand, cpus=self.threads, gpus=self.gpus)
        self._stack.callback(self._tasks.stop)
        if not fits(Resources(cpus=self.threads, gpus=self.gpus)):
            needed = f"{self.threads} cores, as OMP_NUM_THREADS says" if self.threads > 1 else "a free core"
            say(f"note: no node has {needed}{' and a GPU' * self.gpus}; waiting until one comes", sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has_room(self) -> bool:
        return not self._waiting and self._has_room()

    def _has_room(self) -> bool:
        from deepblur.platform.cluster.resources import slots

        if self.workers is not None:
            return len(self._tasks) < self.workers
        # one more than there is room for waits on the cluster, for which an autoscaler grows
        return len(self._tasks) <= slots()[0] // self.threads

    def begin(self, i: int, item: Item) -> None:
        frames = _frames_apart(item)
        if len(frames) < 2:
            self._tasks.begin((i, None), item)
            return
        self._apart[i] = _Apart(item, frames)
        self._waiting += [(i, item, some) for some in frames]
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._has_room():
            i, item, frames = self._waiting.popleft()
            self._tasks.begin((i, frames), item, frames)

    def events(self) -> Sequence[Event]:
        """
        Raises:
            ModelError: a node finds another model than this one did.
        """
        from deepblur.platform.cluster.tasks import Died

        events: list[Event] = []
        for (i, frames), value in self._tasks.wait():
            if frames is not None and i not in self._apart:  # it ended with the first of its parts that failed
                continue
            if isinstance(value, Died):
                self._give_up(i)
                events.append((i, Death(value.how)))
            elif "model" in value:
                raise ModelError(value["model"])
            elif "part" in value:
                events.append((i, self._restored(i, frames, value)))
            else:
                self._give_up(i)
                events.append((i, Outcome(**value)))
        self._fill()
        return events

    def _restored(self, i: int, frames: range, value: dict[str, Any]) -> float:
        """The share of an image that a part of it is; after the last of them a task writes it."""
        apart = self._apart[i]
        apart.parts[frames.start] = value
        if len(apart.parts) == len(apart.frames):
            self._tasks.begin((i, None), apart.item, None, *(apart.parts[some.start] for some in apart.frames))
        return len(frames) / apart.length

    def _give_up(self, i: int) -> None:
        """Nothing more of an image's parts."""
        if (apart := self._apart.pop(i, None)) is not None:
            self._tasks.abort({(i, some) for some in apart.frames})
            self._waiting = deque(task for task in self._waiting if task[0] != i)


def _frames_apart(item: Item) -> list[range]:
    """Which frames of an image are restored together; all where it is not large, or cannot be read, which its task
    says."""
    try:
        recording = open_image(item.path, item.position)
    except InputError:
        return []
    values = math.prod(recording.size) * recording.channels * recording.length
    parts = min(recording.length, values // PART_VALUES)
    starts = [k * recording.length // max(parts, 1) for k in range(parts + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(starts)]
