"""How fast and how steady is `mlflow models serve` with a deepblur model?

Registers a model folder as deepblur@champion in a registry of its own, serves it on loopback, and measures
  - requests per second and latency, for two image sizes and several clients that ask without a pause,
  - the server's memory,
  - many good and bad requests mixed: each must be answered, the good ones as `BlindModel.restore` says, the bad ones
    with 4xx and a sentence.

    python benchmarks/serving.py MODEL_FOLDER

Outcome   The quick study's model (1.2 M parameters), one server process on 2 quiet cores, 2026-11-26: 128² 17.5
          requests/s from one client (p50 56 ms, p95 63 ms), 15.8 from eight (p50 506 ms); 512² 1.7 (p50 0.59 s, p95
          0.64 s). Requests wait for their turn, so that more clients lengthen the latency and not the computation.
          1,000 mixed requests in 21 s: 511 good and right, 489 refused with a sentence, none lost. Memory 0.5 GiB at
          the start, 1.25 GiB with 8 clients at 512².
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from deepblur.platform.models.model import BlindModel, load_model
from deepblur.platform.registry.publish import log_and_register
from deepblur.platform.tracking.tracker import Tracker

TOLERANCE = 1e-4
"""Largest difference of a pixel in [0, 1]: threads sum in another order."""
BAD = (  # Content-Type and body
    ("application/json", b""),
    ("application/json", b"not JSON"),
    ("application/json", b'{"inputs": [[[[0.1, 0.2], [0.3]]]]}'),
    ("application/json", b'{"inputs": "cell.tif"}'),
    ("application/json", b'{"images": [[[[0.5]]]]}'),
    ("application/json", b'{"inputs": [[[[NaN, 0.5]]]]}'),
    ("application/json", b'{"inputs": [[[["0.5", 0.5]]]]}'),
    ("application/json", b'{"inputs": [[[[255, 17]]]]}'),
    ("application/json", b'{"inputs": [[[0.5, 0.5]]]}'),
    ("application/json", b'{"inputs": []}'),
    ("application/json", b'{"inputs":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    ("text/csv", b"a,b\n1,2\n"),
    ("image/tiff", b"II*\x00"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of a model, as save_model writes it")
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 512], help="of the images, in pixels")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement; at least 2 requests a client")
    parser.add_argument("--requests", type=int, default=1000, help="of the mixed run, by 8 clients")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    parameters = sum(p.numel() for net in (model.identifier, model.deblurrer) if net for p in net.parameters())
    print(f"{parameters:,} parameters, {arguments.workers} worker(s), {os.cpu_count()} cores\n")
    with served(arguments.model, arguments.workers) as server:
        print(f"first answer {server.start_s:.1f} s after the command; memory {server.memory_mib():.0f} MiB\n")
        print("| image | clients | requests/s | p50 s | p95 s | memory MiB |\n|---|---|---|---|---|---|")
        for side in arguments.sides:
            for clients in arguments.clients:
                print(load(server, side, clients, arguments.seconds), flush=True)
        mixed(server, model, arguments.requests, arguments.seed)


class Server:
    """A running server on loopback."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]):
        self.port, self.process = port, process
        self.start_s = 0.0

    def memory_mib(self) -> float:
        """Resident memory of the command and its children; what they share counts in each."""
        total = 0
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total / 2**20

    def post(self, connection: HTTPConnection, content_type: str, body: bytes) -> tuple[int, dict[str, Any]]:
        connection.request("POST", "/invocations", body, {"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=600)


@contextmanager
def served(model_folder: Path, workers: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="deepblur-") as scratch:
        tracker = Tracker.open(f"sqlite:///{scratch}/mlflow.db", "serving")
        run = tracker.child_run(parent="0", key="serving", name="serving", params={})
        version = log_and_register(tracker, run, model_folder, example=image(0, 32, 32))
        assert version, tracker.problems
        tracker.client.set_registered_model_alias("deepblur", "champion", version)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/deepblur@champion",
                   "--env-manager", "local", "--port", str(port), "--workers", str(workers),
                   "--timeout", "600"]  # fmt: skip
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": tracker.uri,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # MLflow calls uvicorn by name
        }
        start = time.monotonic()
        with open(Path(scratch) / "log", "wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=scratch)
        server = Server(port, process)
        try:
            while not healthy(server):
                if process.poll() is not None or time.monotonic() - start > 300:
                    sys.exit((Path(scratch) / "log").read_text(errors="replace"))
                time.sleep(0.2)
            server.start_s = time.monotonic() - start
            yield server
        finally:
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                with suppress(psutil.Error):
                    child.kill()
            process.wait()


def healthy(server: Server) -> bool:
    with suppress(OSError, HTTPException):
        connection = server.connect()
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    return False


def image(seed: int, height: int, width: int) -> np.ndarray:
    """(1, 1, H, W) float32: smooth structure and noise, in about [0, 1]."""
    rng = np.random.default_rng(seed)
    waves = np.add.outer(np.sin(np.arange(height) / rng.uniform(3, 30)), np.cos(np.arange(width) / rng.uniform(3, 30)))
    noisy = 0.5 + 0.2 * waves + 0.01 * rng.standard_normal((height, width))
    return noisy.astype(np.float32)[None, None]


def good(images: np.ndarray) -> bytes:
    return json.dumps({"inputs": images.tolist()}).encode()


def load(server: Server, side: int, clients: int, seconds: float) -> str:
    """A row of the table: clients that ask for one image again and again."""
    body = good(image(side, side, side))
    times: list[float] = []
    most = [server.memory_mib()]
    end = time.monotonic() + seconds

    def client(_: int) -> None:
        connection, asked = server.connect(), 0
        while asked < 2 or time.monotonic() < end:
            start = time.monotonic()
            status, _found = server.post(connection, "application/json", body)
            assert status == 200, _found
            times.append(time.monotonic() - start)
            asked += 1

    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            most.append(server.memory_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    try:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))
    finally:
        done.set()
        watcher.join()
    rate = len(times) / (time.monotonic() - start)
    median, late = np.percentile(times, [50, 95])
    return f"| {side}² | {clients} | {rate:.2f} | {median:.3f} | {late:.3f} | {max(most):.0f} |"


def mixed(server: Server, model: BlindModel, requests: int, seed: int) -> None:
    """Good and bad requests in a seeded order from 8 clients; ends the process with 1 if one went wrong."""
    chance = random.Random(seed)
    images = [image(1000 + i, chance.randrange(40, 129), chance.randrange(40, 129)) for i in range(12)]
    expected = [model.restore(torch.from_numpy(one)).image for one in images]
    plan = [
        (i, None) if chance.random() < 0.5 else (None, chance.randrange(len(BAD)))
        for i in (chance.randrange(len(images)) for _ in range(requests))
    ]
    bodies = [good(one) for one in images]

    def ask(step: tuple[int | None, int | None]) -> str:
        which, fault = step
        content_type, body = ("application/json", bodies[which]) if which is not None else BAD[fault or 0]
        try:
            status, found = server.post(server.connect(), content_type, body)
        except (OSError, HTTPException, ValueError) as error:
            return f"lost: {type(error).__name__}"
        if which is None:
            fine = 400 <= status < 500 and 10 < len(found["message"]) < 300 and "\n" not in found["message"]
            return "bad, refused with a sentence" if fine else f"bad, answered with {status}"
        if status != 200:
            return f"good, answered with {status}"
        error = (torch.tensor(found["predictions"]["image"]) - expected[which]).abs().max()
        return "good, right" if error < TOLERANCE else f"good, wrong by {error:.1e}"

    start = time.monotonic()
    with ThreadPoolExecutor(8) as clients:
        outcomes = Counter(clients.map(ask, plan))
    print(f"\n{requests} mixed requests of 8 clients in {time.monotonic() - start:.0f} s, seed {seed}:")
    for outcome, count in sorted(outcomes.items()):
        print(f"  {count:5d}  {outcome}")
    print(f"  server alive: {healthy(server)}, memory {server.memory_mib():.0f} MiB")
    if not healthy(server) or outcomes.keys() - {"good, right", "bad, refused with a sentence"}:
        sys.exit(1)


if __name__ == "__main__":
    main()
