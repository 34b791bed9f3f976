"""The processes of a Ray cluster as a crew: a task for each image, on whatever node has room.

Images, results and models lie in folders that all nodes see under the same paths, and deepblur is installed on each.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from deepblur.platform.system.code import code_of
from deepblur.platform.system.errors import ModelError
from deepblur.restoration.batch.image_files import Outcome
from deepblur.restoration.batch.many import Crew, Death, Event
from deepblur.restoration.batch.ownership import Item
from deepblur.restoration.batch.worker import Errand, on_node

if TYPE_CHECKING:
    from deepblur.platform.cluster.tasks import Tasks
    from deepblur.restoration.batch.restoring import Restoring

_TOLD = ("MLFLOW_TRACKING_URI", "DEEPBLUR_RUNS")
"""Of the environment: where models are looked for. They go with the work, not into Ray's records: one may be secret."""


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

    def __enter__(self) -> "ClusterTasks":
        from deepblur.platform.cluster.connection import joined  # Ray takes seconds that only its users pay
        from deepblur.platform.cluster.tasks import Tasks

        self._stack.enter_context(joined(self.address))
        environment = {name: os.environ[name] for name in _TOLD if name in os.environ}
        code = code_of(["restoration/batch/worker", "restoration/batch/restoring"], ())
        errand = Errand(self.job, self.threads, os.getcwd(), environment, code)
        self._tasks = Tasks(on_node, errand, cpus=self.threads, gpus=self.gpus)
        self._stack.callback(self._tasks.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def has_room(self) -> bool:
        from deepblur.platform.cluster.resources import slots

        if self.workers is not None:
            return len(self._tasks) < self.workers
        # one more than there is room for waits on the cluster, for which an autoscaler grows
        return len(self._tasks) <= slots()[0] // self.threads

    def begin(self, i: int, item: Item) -> None:
        self._tasks.begin(i, item)

    def events(self) -> Sequence[Event]:
        """
        Raises:
            ModelError: a node finds another model than this one did.
        """
        from deepblur.platform.cluster.tasks import Died

        events: list[Event] = []
        for i, value in self._tasks.wait():
            if isinstance(value, Died):
                events.append((i, Death(value.how)))
            elif "model" in value:
                raise ModelError(value["model"])
            else:
                events.append((i, Outcome(**value)))
        return events
