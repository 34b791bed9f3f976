"""Eight processes that log to one MLflow at once: as `platform.tracking` does it, and one call a point."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

WRITERS = 8
METRICS = 10
EXPERIMENT = "benchmark"
Points = list[dict[str, float]]


def curve(rows: int) -> Points:
    return [{"step": float(step), **{f"metric_{i}": step + i / METRICS for i in range(METRICS)}}
            for step in range(1, rows + 1)]  # fmt: skip


def batched(uri: str, parent: str, writer: int, rows: int, pieces: int) -> tuple[str, float, float, list[str]]:
    """A curve that grows by pieces and is handed over whole each time, as a study does it.

    Returns: the run, when it was opened and when it was ended, and what could not be recorded.
    """
    from deepblur.platform.tracking.tracker import Tracker

    tracker = Tracker.open(uri, EXPERIMENT)
    whole = curve(rows)
    started = time.time()
    run = tracker.child_run(
        parent=parent, key=f"batched-{writer}", name=f"batched {writer}", params={"writer": str(writer)}
    )
    for piece in range(1, pieces + 1):
        tracker.log_rows(run, whole[: rows * piece // pieces])
    tracker.log_metrics(run, {"result": float(writer)})
    tracker.finish(run, ok=True)
    return run, started, time.time(), tracker.problems


def one_by_one(uri: str, parent: str, writer: int, rows: int) -> tuple[str, float, float, list[str]]:
    """The same curve, one call of MLflow's client a point."""
    from deepblur.platform.tracking.connection import connect

    client = connect(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    problems: list[str] = []
    started = time.time()
    run = client.create_run(experiment.experiment_id, tags={"mlflow.parentRunId": parent}).info.run_id
    for row in curve(rows):
        for name in row.keys() - {"step"}:
            try:
                client.log_metric(run, name, row[name], step=int(row["step"]))
            except Exception as error:  # a benchmark counts them
                problems.append(f"{type(error).__name__}: {error}")
    client.set_terminated(run)
    return run, started, time.time(), problems


def lost(uri: str, runs: list[str], rows: int) -> int:
    """Points of the curves that MLflow does not have, or has twice."""
    from deepblur.platform.tracking.connection import connect

    client = connect(uri)
    wrong = 0
    for run in runs:
        for i in range(METRICS):
            steps = [point.step for point in client.get_metric_history(run, f"metric_{i}")] if run else []
            wrong += len(set(range(1, rows + 1)) ^ set(steps)) + len(steps) - len(set(steps))
    return wrong


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """An `mlflow server` of this machine on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
               "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
               "--workers", "1"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while not _answers(uri):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the MLflow server did not start:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.5)
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)  # it has worker processes, in the session that it leads
        process.wait(timeout=60)


def _answers(uri: str) -> bool:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=5).close()
    except OSError:
        return False
    return True


def records(folder: Path, quick: bool) -> Iterator[str]:
    """The section's lines."""
    rows, pieces, single = (60, 6, 3) if quick else (500, 25, 20)
    yield f"{WRITERS} processes, {METRICS} metrics; batched: {rows} steps, told {pieces} times; single: {single} steps"
    yield f"{'':26}{'points':>8}{'s':>8}{'points/s':>10}{'lost':>6}"
    with server(folder / "server") as uri:
        yield from _compare("mlflow server", uri, rows, pieces, single)
    yield from _compare("one sqlite file", f"sqlite:///{folder}/mlflow.db", rows, pieces, single)


def _compare(name: str, uri: str, rows: int, pieces: int, single: int) -> Iterator[str]:
    from deepblur.platform.tracking.tracker import Tracker

    tracker = Tracker.open(uri, EXPERIMENT)
    parent = tracker.study_run(key="all", name="all", params={})
    for way, function, arguments, steps in (
        ("batched", batched, (rows, pieces), rows),
        ("single", one_by_one, (single,), single),
    ):
        with ProcessPoolExecutor(WRITERS, mp_context=get_context("spawn")) as pool:
            waiting = [pool.submit(function, uri, parent, writer, *arguments) for writer in range(WRITERS)]
            found = [future.result() for future in waiting]
        took = max(end for _, _, end, _ in found) - min(start for _, start, _, _ in found)
        points = WRITERS * METRICS * steps
        missing = lost(uri, [run for run, *_ in found], steps)
        line = f"{name + ', ' + way:26}{points:8}{took:8.1f}{points / took:10.0f}{missing:6}"
        yield line + (f"   LOST {missing}" if missing else "")
        problems = [problem for *_, some in found for problem in some]
        if problems:
            yield f"  {len(problems)} calls failed, such as: {problems[0]}"
    tracker.finish(parent, ok=True)
