"""Strike a study with everything that happens to long distributed jobs, and see that the same command finishes it.

First the study runs undisturbed: that is the truth. Then it starts again on an empty folder, and at random moments
something is killed, frozen or filled up; whenever the driver ends, the same command is typed again. After every event
and at the end the ledger, the files, the cluster and the MLflow record are held against the truth.

    python tests/chaos/chaos.py --out runs/chaos

Everything that this program starts ends with it, also on Ctrl-C. Needs Linux; filling a disk needs the right to mount.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import checks
import services
from events import EVENTS
from world import World

from deepblur.platform.cluster.address import private_cluster

ROOT = Path(__file__).resolve().parents[2]
SOUND = (
    "At the end of every study: all stages done, files and table of results bit for bit those of the undisturbed one, "
    "every MLflow run FINISHED and there once, nothing left behind."
)
NEEDS_DISK = ("disk full", "cache disk full")


@dataclass
class Outcome:
    """One event and what became of it."""

    event: str
    study: int
    happened: str
    under_way: int
    """Stages that were being carried out when it struck."""
    lost_s: float
    """Stage-seconds since the last checkpoint of what it stopped: the most that had to be done again."""
    recovered_s: float
    """From the end of the event, when all that was killed stood again, until every stage had moved on."""
    commands: int
    """How often the command had to be typed again."""
    problems: list[str] = field(default_factory=list)


class Chaos:
    """The services, the truth, and the outcomes so far."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        temporary = folder / "ray"
        temporary.mkdir()
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), **private_cluster(), "RAY_TMPDIR": str(temporary),
                            "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
                            "MLFLOW_DISABLE_TELEMETRY": "true"}  # fmt: skip
        self.environment.pop("RAY_ADDRESS", None)
        self.cluster = services.Cluster(folder, self.environment)
        self.server = services.MlflowServer(folder, self.environment)
        self.disk = services.Disk(folder / "disk")
        self.outcomes: list[Outcome] = []
        self.endings: list[str] = []
        self.repeated: list[tuple[float, int]] = []
        self.studies = 0

    def start(self) -> None:
        self.disk.mount()
        self.server.start()
        self.cluster.start()

    def end(self) -> None:
        services.end_all()
        self.disk.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)

    def world(self, name: str) -> World:
        return World(self.folder, self.cluster, self.server, self.disk, name)

    def undisturbed(self) -> checks.Truth:
        world = self.world("undisturbed")
        started = time.monotonic()
        world.type_command()
        ended = world.wait_for_the_end(1200)
        if not world.complete():
            raise RuntimeError(f"the undisturbed study failed: {ended}")
        truth = checks.Truth.of(world.runs, checks.Runs(self.server.uri), time.monotonic() - started)
        world.check_clean()
        self.endings += [f"undisturbed: {problem}" for problem in world.problems]
        self._forget(world)
        return truth

    def study(self, truth: checks.Truth, events: list[str], deadline: float) -> list[str]:
        """Run a study and strike it until it ends, first of all as it begins; the events that found no time."""
        self.studies += 1
        world = self.world(f"study{self.studies}")
        first = next((name for name in events if EVENTS[name].first), None)
        if first is None:
            world.type_command()
        else:
            self._strike(world, first, truth)
        struck = [first] if first else []
        for name in (name for name in events if not EVENTS[name].first):
            if time.monotonic() > deadline or not self._moment(world):
                break
            self._strike(world, name, truth)
            struck.append(name)
        world.finish()
        self.repeated.append(checks.repeated(world.runs))
        problems = world.problems + checks.broken_stages(world.runs, truth) + checks.unfinished(world.runs, truth)
        problems += checks.Runs(self.server.uri).duplicates(truth.recorded)
        self.endings += [f"study {self.studies}: {problem}" for problem in dict.fromkeys(problems)]
        say(f"study {self.studies} is complete after {world.commands} commands" + "".join(f"\n  {p}" for p in problems))
        self._forget(world)
        return list((Counter(events) - Counter(struck)).elements())

    def _moment(self, world: World) -> bool:
        """Wait until stages are under way, and then for a random moment; False where the study ended before."""
        services.wait_for(lambda: world.ended() or bool(world.under_way()), 300, "the start of a stage")
        time.sleep(self.rng.uniform(0.5, 12))
        return not world.ended() and bool(world.under_way())

    def _strike(self, world: World, name: str, truth: checks.Truth) -> None:
        event = EVENTS[name]
        before, struck = world.under_way(), time.time()
        typed = world.commands
        ages = sorted((struck - since for since in before.values()), reverse=True)
        happened = event.strike(world, self.rng)
        restored = time.time()
        checking = world.settle(set(before))
        problems, world.problems = [*world.problems, *checks.broken_stages(world.runs, truth)], []
        lost = {"none": 0.0, "one": sum(ages[:1]), "all": sum(ages)}[event.hits]
        recovered = time.time() - restored - checking
        outcome = Outcome(name, self.studies, happened, len(before), lost, recovered, world.commands - typed, problems)
        self.outcomes.append(outcome)
        say(describe(outcome))

    def _forget(self, world: World) -> None:
        checks.Runs(self.server.uri).clear()
        shutil.rmtree(world.runs, ignore_errors=True)


def say(text: str) -> None:
    print(text, flush=True)


def describe(outcome: Outcome) -> str:
    line = (f"study {outcome.study}, {outcome.event}: {outcome.happened}; {outcome.under_way} stages under way, "
            f"at most {outcome.lost_s:.1f} stage-seconds lost, {outcome.commands} commands more, going on after "
            f"{outcome.recovered_s:.0f} s")  # fmt: skip
    return line + "".join(f"\n  PROBLEM {problem}" for problem in outcome.problems)


def report(chaos: Chaos, truth: checks.Truth, skipped: list[str], seed: int, seconds: float) -> str:
    """The chaos report as text."""
    outcomes = chaos.outcomes
    kinds = Counter(outcome.event for outcome in outcomes)
    sound = sum(not outcome.problems for outcome in outcomes)
    lines = [
        f"{len(outcomes)} events in {chaos.studies} studies of {len(truth.folders)} stages, seed {seed}: "
        f"{len(outcomes)} recoveries, {sound} without any complaint; {seconds:.0f} s in all, one undisturbed study "
        f"{truth.seconds:.0f} s",
        "",
        f"{'event':16} {'times':>5} {'lost, stage-s':>14} {'going on after':>15} {'commands':>9}",
    ]
    for kind, times in kinds.items():
        own = [outcome for outcome in outcomes if outcome.event == kind]
        lost, after = (statistics.median(getattr(o, name) for o in own) for name in ("lost_s", "recovered_s"))
        lines.append(f"{kind:16} {times:5d} {lost:14.1f} {after:13.0f} s {sum(o.commands for o in own):9d}")
    seconds_lost, steps_lost = (sum(part) for part in zip(*chaos.repeated, strict=True))
    lines += ["", f"The ledgers count {seconds_lost:.0f} stage-seconds and {steps_lost} training steps done again."]
    lines += ["", *(describe(outcome) for outcome in outcomes)]
    lines += [f"not tried: {name} (no right to mount a small disk)" for name in skipped]
    lines += ["", *(chaos.endings or [SOUND])]
    return "\n".join(lines) + "\n"


def write(folder: Path, text: str, chaos: Chaos, truth: checks.Truth) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos.txt").write_text(text)
    record = {
        "stages": len(truth.folders),
        "undisturbed_s": truth.seconds,
        "studies": chaos.studies,
        "repeated": chaos.repeated,
        "events": [asdict(outcome) for outcome in chaos.outcomes],
        "problems": chaos.endings,
    }
    (folder / "chaos.json").write_text(json.dumps(record, indent=2))


def main() -> int:
    """The exit code: 0 where no check found anything to complain of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims (default: 0)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each event strikes (default: 1)")
    parser.add_argument("--minutes", type=float, default=60, help="no event strikes later than this (default: 60)")
    parser.add_argument("--events", default=",".join(EVENTS), help="which, with commas between them (default: all)")
    parser.add_argument("--out", type=Path, help="folder for chaos.txt and chaos.json (default: none is written)")
    arguments = parser.parse_args()
    names = arguments.events.split(",")
    if unknown := set(names) - EVENTS.keys():
        parser.error(f"--events names {', '.join(sorted(unknown))}; there are {', '.join(EVENTS)}")
    services.adopt_orphans()
    services.stop_on_signals()
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    started = time.monotonic()
    chaos = Chaos(Path(tempfile.mkdtemp(prefix="dbc", dir="/tmp")), arguments.seed)
    try:
        chaos.start()
        say(f"services up after {time.monotonic() - started:.0f} s")
        truth = chaos.undisturbed()
        say(f"undisturbed: {len(truth.folders)} stages in {truth.seconds:.0f} s")
        skipped = [] if chaos.disk.mounted else [name for name in names if name in NEEDS_DISK]
        events = [name for name in names if name not in skipped] * arguments.rounds
        chaos.rng.shuffle(events)
        deadline = time.monotonic() + 60 * arguments.minutes
        while events and time.monotonic() < deadline:
            events = chaos.study(truth, events, deadline)
        text = report(chaos, truth, skipped, arguments.seed, time.monotonic() - started)
        say("\n" + text)
        if arguments.out is not None:
            write(arguments.out, text, chaos, truth)
        return int(bool(chaos.endings or any(outcome.problems for outcome in chaos.outcomes)))
    except KeyboardInterrupt:
        say("stopped")
        return 130
    finally:
        chaos.end()


if __name__ == "__main__":
    sys.exit(main())
