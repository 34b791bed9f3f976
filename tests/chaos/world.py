"""One study in a world that strikes it: its command, its driver, what is seen of its progress."""

import subprocess
import sys
import time
from pathlib import Path

import checks
import psutil
import services

STUDY = Path(__file__).with_name("many_stages.py")
CLEAN_S = 30
"""Nothing of a dead driver may be left after so long."""
STALL_S = 300
"""A driver that shows no progress for so long hangs."""
TRIES = 6


class World:
    """The study, on a runs folder of its own, with the cluster, server and disk that it uses."""

    def __init__(
        self, folder: Path, cluster: services.Cluster, server: services.MlflowServer, disk: services.Disk, name: str
    ) -> None:
        self.folder, self.cluster, self.server, self.disk = folder, cluster, server, disk
        self.runs = disk.folder / name
        self.log = folder / f"{name}.log"
        self.environment = {**cluster.environment, "RAY_ADDRESS": cluster.address}
        self.driver: subprocess.Popen[bytes] | None = None
        self.commands = 0
        self.problems: list[str] = []

    def command(self) -> list[str]:
        return [sys.executable, str(STUDY), "--runs", str(self.runs), "--tracking-uri", self.server.uri]

    def type_command(self) -> None:
        self.commands += 1
        self.driver = services.launch(self.command(), self.environment, self.log)

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def ended(self) -> bool:
        return self.driver is not None and self.driver.poll() is not None

    def complete(self) -> bool:
        return self.driver is not None and self.driver.poll() == 0

    def wait_for_the_end(self, seconds: float) -> str:
        """How the driver ended, in words; it may go on where the event did not concern it."""
        assert self.driver is not None
        try:
            code = self.driver.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return "the study was still going on"
        return f"the study ended with code {code}: {self.last_line()}"

    def last_line(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith("(raylet)")]
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or ["it said nothing"])[-1]

    def under_way(self) -> dict[str, float]:
        """Key of each stage under way → when it last showed that it had saved something."""
        seen = checks.rows(self.runs)
        return {s.key: max(s.started, seen.get(s.key, 0)) for s in checks.stages(self.runs) if s.state == "running"
                and not (self.runs / "stages" / s.key).is_dir()}  # fmt: skip

    def stage_processes(self) -> list[psutil.Process]:
        """Processes that carry a stage out, or look after its training workers."""
        labels = {s.label for s in checks.stages(self.runs) if s.state == "running"}
        return [p for p in self.cluster.busy() if services.title(p).removeprefix("ray::").strip() in labels]

    def moved_on(self, hit: set[str], since: float) -> bool:
        """Whether every stage that was hit has saved something since, or is done, or the study is complete."""
        if self.ended():
            return self.complete()
        if not hit:  # it struck before the first stage
            return bool(self.under_way())
        saved = checks.rows(self.runs)
        return all((self.runs / "stages" / key).is_dir() or saved.get(key, 0) > since for key in hit)

    def settle(self, hit: set[str]) -> float:
        """Type the command again as often as it takes until what was hit has moved on; seconds waited only to check."""
        struck, checking, typed = time.time(), 0.0, 0
        spoken = time.monotonic()
        while not self.moved_on(hit, struck):
            if self.ended():
                checking += self.check_clean()
                if typed == TRIES:
                    raise RuntimeError(f"the study did not go on after {TRIES} more commands: {self.last_line()}")
                self.type_command()
                typed += 1
                spoken = time.monotonic()
            elif time.monotonic() - spoken > STALL_S:
                self.problem(f"the driver showed no progress for {STALL_S} s and was killed")
                assert self.driver is not None
                self.driver.kill()
                self.driver.wait()
            time.sleep(0.2)
        return checking

    def finish(self) -> None:
        """Let the study end, and type its command once more where its record is incomplete."""
        for _ in range(TRIES):
            assert self.driver is not None
            try:
                code = self.driver.wait(timeout=2 * STALL_S)
            except subprocess.TimeoutExpired:
                self.problem(f"the study did not end within {2 * STALL_S} s and was killed")
                self.driver.kill()
                code = self.driver.wait()
            self.check_clean()
            if code == 0 and set(checks.Runs(self.server.uri).states()) == {"FINISHED"}:
                return
            self.type_command()
        self.problem(f"after {TRIES} more commands the study or its record was still incomplete: {self.last_line()}")

    def check_clean(self) -> float:
        """See that a driver that has ended left nothing on the cluster, and no run RUNNING; the seconds that took."""
        started = time.monotonic()
        left = self._left()
        while left and time.monotonic() - started < CLEAN_S:
            time.sleep(1)
            left = self._left()
        for what in left:
            self.problem(f"{CLEAN_S} s after the driver's end: {what}")
        return time.monotonic() - started

    def _left(self) -> list[str]:
        left = sorted({services.title(p).strip() for p in self.cluster.busy()})
        left = [f"a process {text} was left on the cluster" for text in left]
        if not left:
            total, free, groups = self.cluster.state()
            left += [f"{total - free:g} cores were still reserved"] * (free < total)
            left += [f"{groups} placement groups were left"] * (groups > 0)
        running = checks.Runs(self.server.uri).states()["RUNNING"]
        return left + [f"{running} MLflow runs were still RUNNING"] * (running > 0)
