"""What another process does of a batch: one on this machine, told image by image over a socket, or a task on a node."""

import json
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepblur.restoration.batch.image_files import Outcome
    from deepblur.restoration.batch.ownership import Item
    from deepblur.restoration.batch.restoring import Restoring
    from deepblur.restoration.engines.engine import Engine

_PATIENCE_S = 5.0
"""How long, once the command is gone, what is half written may take to be removed."""


def main() -> None:
    """Serve the socket whose descriptor is the first argument, until nobody is there any more."""
    descriptor = int(sys.argv[1])
    threading.Thread(target=_follow, args=(descriptor,), daemon=True).start()
    connection = Connection(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        _serve(connection)


@dataclass(frozen=True)
class Errand:
    """What a process on another machine has to know."""

    job: "Restoring"
    threads: int
    folder: str
    """The current one of the command."""
    environment: dict[str, str]
    """Of the command's environment."""
    code: dict[str, str]
    """Module → hash, of the command."""


def on_node(errand: Errand, item: "Item", frames: range | None = None, *parts: dict[str, Any]) -> dict[str, Any]:
    """One image, on whatever machine: the fields of its `Outcome`, or why the model cannot be had.

    Args:
        frames: these alone, for a later call that writes them: {"part": a `Part`} then, where nothing went wrong.
        parts: what earlier calls for some frames each have given, for all frames.
    Raises:
        ValueError: this machine has another deepblur.
    """
    from deepblur.platform.system.code import differs_here
    from deepblur.platform.system.errors import InputError
    from deepblur.restoration.batch.image_files import failed

    if (module := differs_here(errand.code)) is not None:
        raise ValueError(
            f"the node {socket.gethostname()} has another version of {module} than this command; install the same "
            "deepblur on every node"
        )
    job = errand.job
    try:
        os.chdir(errand.folder)
        # the command holds this lock: a folder without it is another machine's of the same name
        there = item.path.exists() and (job.output / item.below / ".deepblur.lock").exists()
    except OSError:
        there = False
    if not there:
        reason = "it, or the folder for its results, is not seen under this path"
        remedy = "put images and results where all nodes see them"
        return vars(failed(item, InputError(f"{item.path}: on the node {socket.gethostname()} {reason}; {remedy}")))
    os.environ.update(errand.environment)
    made, problem = _engine(job, errand.threads)
    if made is None:
        return {"model": problem}
    if frames is not None:
        outcome = _done(job, item, lambda: {"part": job.part(made, item, frames)})
        return outcome.entry if "part" in outcome.entry else vars(outcome)
    written = [part["part"] for part in parts]
    return vars(_done(job, item, lambda: job.restored(made, item, lambda share: None, written)))


_READY: dict[bytes, "tuple[Engine | None, str]"] = {}
"""The engine that this process made last, by what it was made of."""


def _engine(job: "Restoring", threads: int) -> "tuple[Engine | None, str]":
    """The engine of a job, or the sentence that says why it cannot be had."""
    import torch

    from deepblur.platform.system.errors import RestorationError
    from deepblur.restoration.engine_choice import choose_engine

    torch.set_num_threads(threads)
    key = pickle.dumps((job.engine, job.described))
    if key not in _READY:
        _READY.clear()
        try:
            made, _ = choose_engine(job.engine)
            same = made.described() == job.described
            _READY[key] = (made, "") if same else (None, "the model was replaced while images are restored")
        except (RestorationError, OSError) as error:
            return None, str(error)
    return _READY[key]


def _done(job: "Restoring", item: "Item", work: Callable[[], dict[str, Any]]) -> "Outcome":
    """What became of one image."""
    from deepblur.restoration.batch.image_files import output_folder, tried

    def locked() -> dict[str, Any]:
        with output_folder(job.output / item.below):  # which stays locked until the last of us is gone
            return work()

    return tried(item, locked)


def _serve(connection: Connection) -> None:
    job, threads = connection.recv()  # which imports what it is made of
    made, problem = _engine(job, threads)

    def tell(value: dict[str, Any]) -> None:
        connection.send_bytes(json.dumps(value).encode())

    while True:
        item = connection.recv()
        if made is None:
            tell({"model": problem})
            continue
        signal.signal(signal.SIGTERM, _stop)
        outcome = _done(job, item, partial(job.restored, made, item, lambda share: tell({"share": share})))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is half written
        tell(vars(outcome))


def _stop(number: int, frame: FrameType | None) -> None:
    """Once only: what it interrupts removes what is half written, and is not interrupted in that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _follow(descriptor: int) -> None:
    """End with the command that started this process, however it ends."""
    gone = select.poll()
    gone.register(descriptor, 0)  # which tells of its other end's closing alone
    gone.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os._exit(1)
