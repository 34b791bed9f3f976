"""The record of a study in MLflow, for people: the ledger says what is done, MLflow shows it.

Only the driver writes. A run is found again by its key and its owner, a user with a runs folder (tags `deepblur.key`,
`deepblur.owner`), so that a repeated study continues its record instead of starting another, or somebody else's. What
is FINISHED stays so. MLflow may fail at any time without stopping a study: what could not be recorded
is listed in `Tracker.problems`, and repeating the study records it.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from deepblur.platform.system.enclosed import files_of
from deepblur.platform.tracking import connection, pages
from deepblur.platform.tracking.names import searchable
from deepblur.platform.tracking.no_tracker import Labels, NoTracker
from deepblur.platform.tracking.orphaned_runs import Watchdog
from deepblur.platform.tracking.owner import owner_of

if TYPE_CHECKING:  # importing MLflow takes seconds, and a study without a record does not need it
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
KEY_TAG = "deepblur.key"
OWNER_TAG = "deepblur.owner"
DRIVER_TAG = "deepblur.driver"
"""The process that a run was last RUNNING under."""
DRIVER = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
VALUE_LIMIT = 5000  # characters of a parameter or tag that every MLflow 3 server takes
SYSTEM_INTERVAL_S = 10
PAUSE_S = 60.0
_log = logging.getLogger("deepblur.tracking")


class Tracker(NoTracker):
    """Records in an MLflow experiment; see NoTracker for the methods and the module for the rules."""

    def __init__(self, client: "MlflowClient", uri: str, experiment_id: str, runs: Path | None = None) -> None:
        super().__init__()
        self._runs = runs
        self.client = client
        self.uri = uri
        self.experiment_id = experiment_id
        self._seen: dict[tuple[str, str], set[int]] = {}  # (run, metric) → steps recorded
        self._names: dict[str, str] = {}
        self._monitors: dict[str, Any] = {}
        self._paused_until = 0.0
        self._open: set[str] = set()
        self._watchdog: Watchdog | None = None

    @classmethod
    def open(cls, uri: str, experiment: str, artifacts: Path | None = None, runs: Path | None = None) -> Self:
        """Connects, creating the database file and the experiment where they are missing.

        Args:
            uri: sqlite:///…, http(s)://… or whatever else MLflow takes.
            experiment: its name.
            artifacts: folder of a local database's artifacts; default: mlartifacts beside the database.
            runs: the runs folder whose studies are recorded; None: the user's, whatever the folder.
        Raises:
            ConnectionError: nothing usable answers at the URI, which is named without its password.
        """
        client = connection.connect(uri)
        return cls(client, uri, connection.experiment(client, uri, experiment, artifacts), runs)

    def study_run(self, *, key: str, name: str, params: Labels, tags: Labels | None = None) -> str:
        def find() -> str:
            return self._run({KEY_TAG: key, OWNER_TAG: self._owner()}, name, params, tags or {})

        if self._watchdog is None:
            self._watchdog = Watchdog(self.uri, self.experiment_id, DRIVER_TAG, DRIVER)
        run_id = self.attempt(f"study {name}", find, "")
        self.attempt("system metrics", lambda: self._watch(run_id), None, run=run_id)
        return run_id

    def child_run(self, *, parent: str, key: str, name: str, params: Labels, tags: Labels | None = None) -> str:
        found_by = {KEY_TAG: key, "mlflow.parentRunId": parent}
        return self.attempt(f"run {name}", lambda: self._run(found_by, name, params, tags or {}), "", run=parent)

    def log_rows(self, run_id: str, rows: Sequence[Mapping[str, float]], step_key: str = "step") -> None:
        self.attempt("curves", lambda: self._log_rows(run_id, rows, step_key), None, run=run_id)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        def log() -> None:
            recorded = self.client.get_run(run_id).data.metrics
            changed = [(_name(k), float(v), 0) for k, v in metrics.items() if recorded.get(_name(k)) != v]
            self._log_points(run_id, changed)

        self.attempt("results", log, None, run=run_id)

    def log_tags(self, run_id: str, tags: Labels) -> None:
        self.attempt("tags", lambda: self._describe(run_id, {}, tags), None, run=run_id)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self.attempt(name, lambda: self.client.log_text(run_id, text, name), None, run=run_id)

    def log_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        self.attempt(file.name, lambda: self.client.log_artifact(run_id, str(file), folder), None, run=run_id)

    def log_folder(self, run_id: str, source: Path, folder: str | None = None) -> None:
        def log() -> None:
            files_of(source)  # a link in it would publish what lies elsewhere
            self.client.log_artifacts(run_id, str(source), folder)

        self.attempt(source.name, log, None, run=run_id)

    def log_pictures(self, run_id: str, pictures: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.attempt("pictures", lambda: pages.log_pictures(self.client, run_id, pictures), None, run=run_id)

    def describe(self, tags: Labels) -> None:
        def log() -> None:
            known = self.client.get_experiment(self.experiment_id).tags
            for key, value in tags.items():
                if key not in known:
                    self.client.set_experiment_tag(self.experiment_id, key, _cut(value))

        self.attempt("description of the experiment", log, None)

    def view(self, key: str) -> str:
        return pages.view_page(self.experiment_id, key)

    def page(self, run_id: str, artifact: str = "") -> str:
        return pages.run_page(self.experiment_id, run_id, artifact) if run_id else ""

    def comparison(self, run_ids: Sequence[str]) -> str:
        return pages.comparison_page(self.experiment_id, [run for run in run_ids if run])

    def finish(self, run_id: str, ok: bool, stopped: bool = False) -> None:
        status = "FINISHED" if ok else "KILLED" if stopped else "FAILED"

        def end() -> None:
            # never taken back; and ending a run twice would stretch its duration over the time between
            if self.client.get_run(run_id).info.status != "FINISHED":
                self.client.set_terminated(run_id, status)
            self._open.discard(run_id)

        if monitor := self._monitors.pop(run_id, None):
            monitor.finish()  # keeps its errors to itself
        self.attempt("end", end, None, run=run_id)
        if self._watchdog is None:
            return
        if run_id in self._open:
            self._watchdog.expect(run_id, status)
        elif not self._open:
            self._watchdog.dismiss()
            self._watchdog = None

    def attempt(self, what: str, action: Callable[[], T], otherwise: T, *, run: str | None = None) -> T:
        """The action's result, or `otherwise` and an entry in `problems` when it fails.

        `run` is the run that it writes to; there is nothing to do for "", a run that could not be recorded.
        """
        if run == "":
            return otherwise
        if run is not None:
            what = f"{what} of {self._names.get(run, run)}"
        start = time.monotonic()
        if start < self._paused_until:
            self._note(f"{what}: not tried, MLflow was failing")
            return otherwise
        try:
            return action()
        except Exception as error:  # the record must not stop the training, whatever goes wrong with it
            if not self.problems:
                _log.warning(
                    "MLflow failed and the study goes on without part of its record: %s", connection.reason(error)
                )
            self._note(f"{what}: {connection.reason(error)}")
            if time.monotonic() - start > 1:  # a server that has gone costs its time-outs at every call
                self._paused_until = time.monotonic() + PAUSE_S
            return otherwise

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _owner(self) -> str:
        from mlflow.tracking.context.registry import resolve_tags

        user = resolve_tags().get("mlflow.user", "")
        return owner_of(self._runs, user)

    def _run(self, found_by: dict[str, str], name: str, params: Labels, tags: Labels) -> str:
        from mlflow.tracking.context.registry import resolve_tags

        found_by = {tag: searchable(value) for tag, value in found_by.items()}
        query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in found_by.items())
        runs: list[Run] = self.client.search_runs([self.experiment_id], query, max_results=1)
        if runs:
            run = runs[0]
            if run.info.status != "FINISHED":
                self._open.add(run.info.run_id)  # and tagged before it is RUNNING: a watchdog looks for both
                self.client.set_tag(run.info.run_id, DRIVER_TAG, DRIVER)
                self.client.update_run(run.info.run_id, status="RUNNING", name=name)
            elif run.info.run_name != name:  # recorded by a deepblur that called it otherwise
                self.client.update_run(run.info.run_id, name=name)
        else:  # user, source file and git commit are tags that the UI shows
            made_by = {name: connection.without_password(tag) for name, tag in resolve_tags().items()}
            made_by[DRIVER_TAG] = DRIVER
            run = self.client.create_run(self.experiment_id, run_name=name, tags={**made_by, **found_by})
            self._open.add(run.info.run_id)
        run_id = run.info.run_id
        self._names[run_id] = name
        self._describe(run_id, {k: v for k, v in params.items() if _name(k) not in run.data.params}, tags)
        return run_id

    def _describe(self, run_id: str, params: Labels, tags: Labels) -> None:
        from mlflow.entities import Param, RunTag

        for some in _chunks([Param(_name(key), _cut(value)) for key, value in params.items()], 100):
            self.client.log_batch(run_id, params=some)
        for labels in _chunks([RunTag(_name(key), _cut(value)) for key, value in tags.items()], 100):
            self.client.log_batch(run_id, tags=labels)

    def _log_rows(self, run_id: str, rows: Sequence[Mapping[str, float]], step_key: str) -> None:
        points = [(_name(key), float(row[key]), int(row[step_key])) for row in rows for key in row.keys() - {step_key}]
        new = [point for point in points if point[2] not in self._steps(run_id, point[0])]
        for some in _chunks(new, 1000):
            self._log_points(run_id, some)
            for key, _, step in some:
                self._seen[run_id, key].add(step)

    def _steps(self, run_id: str, key: str) -> set[int]:
        if (run_id, key) not in self._seen:
            self._seen[run_id, key] = {point.step for point in self.client.get_metric_history(run_id, key)}
        return self._seen[run_id, key]

    def _log_points(self, run_id: str, points: list[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(run_id, metrics=[Metric(key, value, now, step) for key, value, step in points])

    def _watch(self, run_id: str) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if run_id not in self._monitors:
            monitor = SystemMetricsMonitor(
                run_id, sampling_interval=SYSTEM_INTERVAL_S, resume_logging=True, tracking_uri=self.uri
            )
            monitor.start()
            self._monitors[run_id] = monitor


def _name(key: str) -> str:
    """The key with what MLflow refuses in a name replaced."""
    parts = [part for part in re.sub(r"[^\w\-. :/]", "_", key).split("/") if part.strip(".")]
    return "/".join(parts)[:250] or "_"


def _cut(value: str) -> str:
    return value if len(value) <= VALUE_LIMIT else value[: VALUE_LIMIT - 6] + " [cut]"


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
