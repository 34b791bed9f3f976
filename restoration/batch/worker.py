"""A worker process of `crew`: it is told what is to be done, then image by image, until nobody is there any more."""

import json
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType

_PATIENCE_S = 5.0
"""How long, once the command is gone, what is half written may take to be removed."""


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    descriptor = int(sys.argv[1])
    threading.Thread(target=_follow, args=(descriptor,), daemon=True).start()
    connection = Connection(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        _serve(connection)


def _serve(connection: Connection) -> None:
    job, threads = connection.recv()  # which imports what it is made of

    import torch

    from deepblur.platform.system.errors import RestorationError
    from deepblur.restoration.batch.image_files import output_folder, tried
    from deepblur.restoration.engine_choice import choose_engine

    torch.set_num_threads(threads)
    try:
        made, _ = choose_engine(job.engine)
        problem = None if made.described() == job.described else "the model was replaced while images are restored"
    except (RestorationError, OSError) as error:
        problem = str(error)

    def tell(**value: object) -> None:
        connection.send_bytes(json.dumps(value).encode())

    while True:
        item = connection.recv()
        if problem is not None:
            tell(model=problem)
            continue
        signal.signal(signal.SIGTERM, _stop)

        def restore(item=item):
            with output_folder(job.output / item.below):  # which stays locked until the last of us is gone
                return job.restored(made, item, lambda share: tell(share=share))

        outcome = tried(item, restore)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is half written
        tell(entry=outcome.entry, code=outcome.code, first=outcome.first, put_off=outcome.put_off)


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
