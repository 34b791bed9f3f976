"""Ends the MLflow runs of a driver that died without a word: a process of its own that imports nothing before that.

The driver starts it before it opens its first run and holds the other end of its standard input. When that closes, or
when the driver is gone, runs that still carry the driver's tag and are RUNNING end as KILLED: only those, since another
driver that took a run over has put its own tag on it. A driver that says it has finished leaves it nothing to do.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
"""How long an MLflow server that does not answer is asked again; the watchdog ends then."""
_LOOK_S = 1.0
_PAUSE_S = 5.0


class Watchdog:
    """The driver's end."""

    def __init__(self, uri: str, experiment_id: str, tag: str, driver: str) -> None:
        # -P: not the folder of this file, where modules have the names of Python's own. A session of its own: Ctrl-C
        # goes to the driver. No output: whoever reads the driver's to its end would wait for this one too.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), str(os.getpid())],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._tell({"uri": uri, "experiment_id": experiment_id, "tag": tag, "driver": driver})

    def expect(self, run_id: str, status: str) -> None:
        """What a run is to end as that the driver could not end itself."""
        self._tell({"ends": {run_id: status}})

    def dismiss(self) -> None:
        """Nothing is left to do."""
        self._tell({"finished": True})
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # somebody ended it: the study goes on without
            self._process.stdin.write(json.dumps(message).encode() + b"\n")


def wait_for_driver(driver: int) -> dict[str, Any]:
    """What the driver said until it fell silent."""
    said = b""
    while os.getppid() == driver:
        if select.select([sys.stdin], [], [], _LOOK_S)[0]:
            part = os.read(sys.stdin.fileno(), 65536)
            if not part:
                break
            said += part
    task: dict[str, Any] = {"ends": {}}
    for line in said.splitlines():
        message = json.loads(line)
        task |= {**message, "ends": {**task["ends"], **message.get("ends", {})}}
    return task


def end_orphans(task: dict[str, Any]) -> None:
    """End what the driver left; raises what MLflow raises."""
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(task["uri"], registry_uri=task["uri"])
    query = f"tags.`{task['tag']}` = '{task['driver']}' and attributes.status = 'RUNNING'"
    while runs := client.search_runs([task["experiment_id"]], query, max_results=200):
        for run in runs:
            now = client.get_run(run.info.run_id)  # the search may have been long ago
            if now.info.status == "RUNNING" and now.data.tags.get(task["tag"]) == task["driver"]:
                client.set_terminated(run.info.run_id, task["ends"].get(run.info.run_id, "KILLED"))


def main() -> None:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # what ends the driver must not end this first
        signal.signal(number, signal.SIG_IGN)
    task = wait_for_driver(int(sys.argv[1]))
    deadline = time.monotonic() + PATIENCE_S
    while "uri" in task and "finished" not in task:
        try:
            return end_orphans(task)
        except Exception:  # whatever it is, nobody is there any more to be told
            if time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE_S)
    return None


if __name__ == "__main__":
    main()
