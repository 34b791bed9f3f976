"""Worker processes on this machine, each with an image at a time: they die alone, and never outlive the command.

Each is a Python of its own: no fork of this process, whose threads and locks torch would not survive, and none that
imports the caller's script, as `multiprocessing` would. They are told of work over a socket that only they have; when
it closes, because this process ended in whatever way, they end too.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from deepblur.platform.system.errors import ModelError
from deepblur.platform.system.printable import say
from deepblur.restoration.batch.image_files import Outcome
from deepblur.restoration.batch.many import Crew, Death, Event, Job
from deepblur.restoration.batch.ownership import Item
from deepblur.restoration.memory import workers_that_fit
from deepblur.restoration.options import Options

_PATIENCE_S = 5.0
"""How long a process that is told to stop may take to remove what is half written."""


def with_memory(workers: int, options: Options) -> int:
    """As many of them as the memory has room for; where these are fewer, standard error says so."""
    fit = min(workers, workers_that_fit(options)) if workers > 1 else 1
    if fit < workers:
        say(f"note: --max-memory {options.max_memory_gib:g} has room for {fit} of {workers} workers", sys.stderr)
    return fit


class WorkerProcesses(Crew):
    """Up to so many processes, started when there is work for them.

    Args:
        job: what each does with an image.
        workers: how many.
        threads: of each.
    """

    def __init__(self, job: Job, workers: int, threads: int) -> None:
        self.job, self.workers, self.threads = job, workers, threads
        self.idle: list[_Worker] = []
        self.busy: dict[_Worker, int] = {}

    def __enter__(self) -> "WorkerProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        workers = [*self.idle, *self.busy]
        try:
            for worker in workers:
                worker.process.terminate()
            end = time.monotonic() + _PATIENCE_S
            for worker in workers:
                try:
                    worker.process.wait(max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    break
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
                worker.connection.close()
            self.idle, self.busy = [], {}

    def has_room(self) -> bool:
        return len(self.busy) < self.workers

    def begin(self, i: int, item: Item) -> None:
        worker = self.idle.pop() if self.idle else _Worker(self.job, self.threads)
        self.busy[worker] = i
        worker.send(item)

    def events(self) -> Sequence[Event]:
        """
        Raises:
            ModelError: a process finds another model than this one did.
        """
        workers = {worker.connection: worker for worker in self.busy}
        events: list[Event] = []
        for ready in wait(list(workers)):
            worker = workers[ready]  # type: ignore[index]
            event = worker.receive()
            events.append((self.busy[worker], event))
            if not isinstance(event, float):
                del self.busy[worker]
            if isinstance(event, Outcome):
                self.idle.append(worker)
        return events


class _Worker:
    """One process."""

    def __init__(self, job: Job, threads: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # the modules are found where this process finds them; -P: and not in the current folder beside
            code = "import sys; sys.path[:] = sys.argv[2:]; from deepblur.restoration.batch.worker import main; main()"
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno()), *sys.path],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for this process, which tells the others
            )
        self.connection = Connection(ours.detach())
        self.send((job, threads))

    def send(self, value: object) -> None:
        """Whoever is dead already is found by `receive`."""
        with suppress(OSError):
            self.connection.send(value)

    def receive(self) -> float | Outcome | Death:
        """JSON, because it comes from a process that reads strangers' files."""
        try:
            value = json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            code = self.process.wait()
            self.connection.close()
            return Death(f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}")
        if "model" in value:
            raise ModelError(value["model"])
        return float(value["share"]) if "share" in value else Outcome(**value)
