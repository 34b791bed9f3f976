"""What can happen to a study: an event strikes once, mends what a person would mend, and says what it did."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import services
from world import World


@dataclass(frozen=True)
class Event:
    strike: Callable[[World, random.Random], str]
    hits: str
    """How many of the stages under way it stops: none, one, or all."""
    first: bool = False
    """Whether it strikes before the study's first stage."""


def _victim(world: World, rng: random.Random, find: Callable[[], list], what: str) -> str:
    """Kill one of the processes that `find` gives, waiting a while for there to be one."""
    services.wait_for(lambda: bool(find()) or world.ended(), 60, f"the appearance of {what}")
    victims = find()
    if not victims:
        return f"there was no {what} left to kill"
    services.kill([rng.choice(victims)])
    return f"killed {what}"


def worker(world: World, rng: random.Random) -> str:
    return _victim(world, rng, world.cluster.training_workers, "a training worker")


def stage(world: World, rng: random.Random) -> str:
    return _victim(world, rng, world.stage_processes, "the process that looks after a stage")


def node(world: World, rng: random.Random) -> str:
    world.cluster.kill_node()
    time.sleep(rng.uniform(0, 5))
    world.cluster.start_node()
    return "killed the raylet of a node; another node took its place"


def driver(world: World, rng: random.Random) -> str:
    assert world.driver is not None
    world.driver.kill()
    return "killed the driver"


def early_driver(world: World, rng: random.Random) -> str:
    world.type_command()
    services.wait_for(
        lambda: bool(list(world.runs.glob("cache/.*/pixels.u8"))) or world.ended(), 240, "the first image"
    )
    time.sleep(rng.uniform(0, 2))
    return driver(world, rng) + " while it decoded the images"


def head(world: World, rng: random.Random) -> str:
    world.cluster.kill_head()
    time.sleep(rng.uniform(0, 5))
    world.cluster.stop()  # a node does not join a head that knows nothing of it
    world.cluster.start()
    return "killed the Ray head; the cluster was started again"


def mlflow_down(world: World, rng: random.Random) -> str:
    world.server.kill()
    pause = rng.uniform(3, 30)
    time.sleep(pause)
    world.server.start()
    return f"killed the MLflow server; it was started again after {pause:.0f} s"


def mlflow_frozen(world: World, rng: random.Random) -> str:
    with world.server.frozen():
        time.sleep(60)
    return "the MLflow server answered nothing for 60 s"


def disk_full(world: World, rng: random.Random) -> str:
    left = rng.randrange(50_000)
    with world.disk.full(left):
        ended = world.wait_for_the_end(90)
    return f"no more than {left // 1000} kB of the disk were free; {ended}; then space was made"


def cache_disk_full(world: World, rng: random.Random) -> str:
    left = rng.randrange(400_000)
    world.type_command()
    with world.disk.full(left):
        ended = world.wait_for_the_end(120)
    return f"no more than {left // 1000} kB were free for the image cache; {ended}; then space was made"


def second_driver(world: World, rng: random.Random) -> str:
    log = world.folder / "second.log"
    log.unlink(missing_ok=True)
    other = services.launch(world.command(), world.environment, log)
    try:
        code = other.wait(timeout=240)
    except subprocess.TimeoutExpired:
        other.send_signal(signal.SIGKILL)
        world.problem("a second driver on the same folder was not refused within 240 s")
        return "started a second driver"
    last = log.read_text().strip().splitlines()[-1]
    if code == 0 and world.ended():
        return "started a second driver; the first had just ended"
    if code != 1 or "another study" not in last:
        world.problem(f"a second driver on the same folder ended with code {code}: {last}")
    return "a second driver was refused"


EVENTS = {
    "driver at the start": Event(early_driver, hits="none", first=True),
    "cache disk full": Event(cache_disk_full, hits="none", first=True),
    "worker": Event(worker, hits="one"),
    "stage process": Event(stage, hits="one"),
    "node": Event(node, hits="one"),
    "driver": Event(driver, hits="all"),
    "head": Event(head, hits="all"),
    "MLflow killed": Event(mlflow_down, hits="none"),
    "MLflow frozen": Event(mlflow_frozen, hits="none"),
    "disk full": Event(disk_full, hits="all"),
    "two drivers": Event(second_driver, hits="none"),
}
