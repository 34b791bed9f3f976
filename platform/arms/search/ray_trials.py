"""The trials of a search on Ray: Tune runs them, each trains through Ray Train, and the loop decides what and how long.

Tune's own bookkeeping is thrown away: the ledger and the search's history know all that a killed search needs.
"""

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from deepblur.platform.arms.search.loop import END, WAIT, Job, Loop
from deepblur.platform.cluster.queue import StageError, UnderWay
from deepblur.platform.cluster.resources import Resources
from deepblur.platform.stages.failure import describe_error, of_the_settings, root_cause
from deepblur.platform.stages.stage import Work

_LOOK_S = 0.5
"""Seconds between two looks at the curve of a training."""


def run_trials(loop: Loop, resources: Resources) -> None:
    """Carry out a search's trials until its budget is spent; the cluster is connected.

    Raises:
        StageError: a trial failed for a reason that is not its settings'.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(loop.concurrent))
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    jobs: dict[str, Job] = {}
    with tempfile.TemporaryDirectory(prefix="deepblur-tune-") as folder:
        tune.Tuner(
            # A trial waits for its stages, which reserve what they take. It stands on the head, and with it what Ray
            # Train puts beside it: a worker node can be lost without them.
            tune.with_resources(tune.with_parameters(_trial, resources=resources), {"node:__internal_head__": 1e-3}),
            tune_config=tune.TuneConfig(
                search_alg=_Ask(loop, jobs), scheduler=_Judge(loop, jobs), num_samples=-1, reuse_actors=False
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=2),
                stop=_Spent(loop),
            ),
        ).fit()
    broken = next(iter(loop.running.values()), None)
    if broken is not None and not loop.spent():
        work = loop.missing(broken)[0]
        raise StageError(work, loop.errors.get(broken.number, "its process ended; see the log of its worker"))


class _Spent(tune.Stopper):
    """Ends everything under way once a budget is used up, between two reports too."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._loop.spent() is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # of what Tune saves nothing is read again


class _Ask(Searcher):
    """Tune asks the loop for trials."""

    def __init__(self, loop: Loop, jobs: dict[str, Job]) -> None:
        super().__init__(metric="event", mode="max")
        self._loop, self._jobs = loop, jobs

    def suggest(self, trial_id: str) -> Any:
        job = self._loop.next()
        if job == END:
            return Searcher.FINISHED
        if job == WAIT:
            return None
        assert isinstance(job, Job)
        self._jobs[trial_id] = job
        return {"works": self._loop.missing(job)}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The loop has been told by then of all but the loss of a trial that died once too often."""
        if error and (job := self._jobs.get(trial_id)) is not None and job.number in self._loop.running:
            self._loop.errors.setdefault(job.number, "its process died three times; see the log of its worker")

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise RuntimeError("a search goes on from its own history, not from Tune's")


class _Judge(FIFOScheduler):
    """Tune tells the loop what its trials report, and stops them when it says so."""

    def __init__(self, loop: Loop, jobs: dict[str, Job]) -> None:
        super().__init__()
        self._loop, self._jobs = loop, jobs

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        job = self._jobs[trial.trial_id]
        work = next(work for work in job.works if work.key == result["stage"])
        if result["event"] == "failed":
            self._loop.failed(job, work, result["reason"])
            return TrialScheduler.STOP
        if result["event"] == "done":
            goes_on = self._loop.done(job, work, json.loads(result["result"]))
        else:
            goes_on = not self._loop.look(job, work)
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        error = trial.get_pickled_error()
        if error is not None and trial.trial_id in self._jobs:  # the last one; before that it is tried again
            self._loop.errors[self._jobs[trial.trial_id].number] = describe_error(error)


def _trial(config: dict[str, Any], resources: Resources) -> None:
    """One trial, in a process of its own: its stages one after another. Restarted if it dies."""
    for work in config["works"]:
        if work.folder.is_dir():  # done before this process was restarted; the driver was told or finds it
            continue
        try:
            result = _carry_out(work, resources)
        except Exception as error:
            cause = root_cause(error)  # Ray ends a worker that takes too much before the system does
            if not (of_the_settings(cause) or isinstance(cause, ray.exceptions.OutOfMemoryError)):
                raise
            tune.report({"event": "failed", "stage": work.key, "reason": describe_error(error)})
            return
        tune.report({"event": "done", "stage": work.key, "result": json.dumps(result)})  # Tune flattens mappings


def _carry_out(work: Work, resources: Resources) -> dict[str, Any]:
    """Carry out a stage, and tell Tune whenever a training has new rows; the driver reads them in its live file."""
    # not in the placement group that Tune made for the trial itself
    begun, rows, result = UnderWay(work, resources, scheduling_strategy="DEFAULT"), 0, None
    while result is None:
        ended, _ = ray.wait([begun.reference], timeout=_LOOK_S)
        if (now := len(work.live_rows())) > rows:
            rows = now
            tune.report({"event": "row", "stage": work.key})
        if ended:
            result = begun.result()
    return result
