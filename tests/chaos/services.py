"""What a study runs on and what chaos strikes at: a Ray cluster of two nodes, an MLflow server, a small disk.

All of it has ports and folders of its own. Every process below this one is found
again even when its parent was killed, so that nothing outlives the program.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

START_S = 180
DISK_MB = 96
_CHILD_SUBREAPER = 36
_NOBODYS = ("IDLE", "Agent", "_AutoscalingCoordinatorActor")
"""Ray's own processes on every node, and the one that it keeps per cluster."""

PROBE = """
import ray, sys
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
groups = [g for g in ray.util.placement_group_table().values() if g["state"] != "REMOVED"]
total, free = ray.cluster_resources().get("CPU", 0), ray.available_resources().get("CPU", 0)
print(f"{total:g} {free:g} {len(groups)}")
"""

START = """
from ray._private import ray_constants, services
from ray.scripts.scripts import main
services.get_node_ip_address = lambda *_: "127.0.0.1"
ray_constants.ENABLE_RAY_CLUSTER = True
main()
"""
"""`ray start` for several nodes on the loopback interface: Ray has either, by its environment, or the other."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent died (Linux)."""
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1)


def descendants() -> list[psutil.Process]:
    """Every living process that this one started, directly or not."""
    found = psutil.Process().children(recursive=True)
    dead = {p.pid for p in found if _is_dead(p)}
    return [p for p in found if p.pid not in dead]


def _is_dead(process: psutil.Process) -> bool:
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return True
    with contextlib.suppress(psutil.Error):
        if process.ppid() == os.getpid() and process.pid not in _children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)  # an orphan that ended; nobody else takes note
    return True


_children: set[int] = set()
"""Direct children that Popen waits for."""


def launch(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output appended to a file."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            start_new_session=True, cwd="/",
        )  # fmt: skip
    _children.add(process.pid)
    return process


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and everything below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        kill([parent, *parent.children(recursive=True)])
    process.wait()
    _children.discard(process.pid)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float, what: str, every_s: float = 0.3) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every_s)


class Cluster:
    """A Ray head and one more node, one core each, that outlive the drivers that use them."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.address = f"127.0.0.1:{free_port()}"
        self.head: subprocess.Popen[bytes] | None = None
        self.node: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_head()
        self.start_node()
        wait_for(lambda: self.state()[:2] == (2, 2), START_S, "a cluster of two nodes")

    def start_head(self) -> None:
        port = self.address.rpartition(":")[2]
        # With its dashboard, without which Ray's own cleaner of a training never learns that the training is gone.
        ports = {name: f"--{name}-port={free_port()}" for name in ("dashboard", "ray-client-server")}
        self.head = self._node("--head", f"--port={port}", "--dashboard-host=127.0.0.1", *ports.values())
        wait_for(self._answers, START_S, "the start of the Ray head")

    def start_node(self) -> None:
        self.node = self._node(f"--address={self.address}")

    def _node(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", START, "start", "--block", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=100000000", *options]
        return launch(command, self.environment, self.folder / "ray.log")

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def state(self) -> tuple[float, float, int]:
        """Cores of the cluster, how many of them are free, and how many placement groups exist."""
        line = [sys.executable, "-c", PROBE, self.address]
        try:
            answer = subprocess.run(line, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
            total, free, groups = answer.stdout.split()[-3:]
        except (subprocess.SubprocessError, ValueError):
            return (0, 0, -1)
        return float(total), float(free), int(groups)

    def busy(self) -> list[psutil.Process]:
        """Ray's processes that do work for somebody: tasks and actors."""
        titles = {p: title(p) for p in descendants()}
        return [p for p, t in titles.items() if t.startswith("ray::") and not any(a in t for a in _NOBODYS)]

    def training_workers(self) -> list[psutil.Process]:
        """A lone worker is the process of its stage, and bears its name; those of a group have Ray Train's."""
        return [p for p in self.busy() if title(p).startswith(("ray::RayTrainWorker", "ray::IN", "ray::DN"))]

    def kill_node(self) -> None:
        """SIGKILL the second node's raylet, as if its machine were gone."""
        assert self.node is not None
        raylets = [p for p in psutil.Process(self.node.pid).children(recursive=True) if p.name() == "raylet"]
        kill(raylets)
        with contextlib.suppress(subprocess.TimeoutExpired):  # Ray's other processes end with their raylet
            self.node.wait(timeout=30)
        kill_tree(self.node)

    def kill_head(self) -> None:
        assert self.head is not None
        kill_tree(self.head)

    def stop(self) -> None:
        for process in (self.node, self.head):
            if process is not None:
                kill_tree(process)


class MlflowServer:
    """An MLflow server with a database file, on the loopback interface."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "mlartifacts")]
        self.process = launch(command, self.environment, self.folder / "mlflow.log")
        wait_for(self.answers, START_S, "the start of the MLflow server", every_s=1.0)

    def answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        kill_tree(self.process)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The server takes connections and answers none."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        tree = [parent, *parent.children(recursive=True)]
        for process in tree:
            process.suspend()
        try:
            yield
        finally:
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()


class Disk:
    """A small disk for the runs folder: a tmpfs where this process may mount one, else None."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False

    def mount(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and shutil.which("mount"):
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.folder)]
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)
            self.mounted = False

    @contextlib.contextmanager
    def full(self, left_bytes: int) -> Iterator[None]:
        """All but a few bytes are taken by somebody else."""
        ballast = self.folder / "ballast"
        try:
            with ballast.open("wb") as file, contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(self.folder).free - left_bytes))
            yield
        finally:
            ballast.unlink(missing_ok=True)


def end_all() -> None:
    """SIGKILL whatever this process started and is still there."""
    for _ in range(20):
        left = descendants()
        if not left:
            return
        kill(left)
        time.sleep(0.2)


def stop_on_signals() -> None:
    """SIGTERM and SIGHUP end the program as Ctrl-C does, through its clean-up."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
