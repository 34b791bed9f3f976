"""The trials of one search in their order: which may start, how each stands, when it ends. Knows no Ray.

Trial n is asked for when all trials up to n − c have ended, c being the number of trials at a time, and neither its
settings nor its pruning uses any other: so they do not depend on which trial was faster. A trial whose stage another
trial is just carrying out waits for it, and the two share it.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from deepblur.platform.arms.search.history import History, curves
from deepblur.platform.arms.search.pruning import MONITORED, costs, dearer, rungs, should_stop
from deepblur.platform.arms.search.search import Search
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.evaluation.levels import Grid
from deepblur.platform.stages.failure import describe_error, of_the_settings
from deepblur.platform.stages.heartbeat import read_rows
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.training.in_process import training_stage
from deepblur.platform.training.specification import Training

WAIT, END = "wait", "end"


@dataclass(frozen=True)
class Job:
    """A trial under way."""

    number: int
    params: dict[str, Any]
    works: tuple[Work, ...]
    """Its stages in order, those that are done before it included."""
    refused: str = ""
    """Why there are none: its settings make no networks, or none that fit here."""


class Audience(Protocol):
    """Who is told how a search goes: the record and the person who waits."""

    def started(self, job: Job) -> None: ...

    def rows(self, job: Job, work: Work, rows: list[dict[str, float]]) -> None: ...

    def ended(self, job: Job, state: str, about: Mapping[str, Any]) -> None: ...


class Loop:
    """What a search does next; told of everything by whoever carries the trials out.

    Args:
        works: (arm, trial) → the stages that train it and measure it on the grid, in order.
        concurrent: trials at a time.
        spent: says why a budget is used up, None while it is not.
    """

    def __init__(
        self,
        search: Search,
        grid: Grid,
        history: History,
        ledger: Ledger,
        works: Callable[[Arm, int], tuple[Work, ...]],
        concurrent: int,
        audience: Audience,
        spent: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.search, self.grid, self.history, self.ledger = search, grid, history, ledger
        self.concurrent, self.audience, self.spent = concurrent, audience, spent
        self.running: dict[int, Job] = {}
        self._works = works
        self._jobs: dict[int, Job] = {}
        self._active: dict[int, str] = {}  # trial → key of the stage that it is carrying out
        self.exhausted = False
        self.errors: dict[int, str] = {}
        """Trials whose process was lost for good, or whose stage failed for a reason that is not their settings'."""

    def next(self) -> Job | str:
        """A trial to carry out from now on, WAIT while it must wait for another, or END."""
        while True:
            history = self.history
            open_numbers = (n for n in range(len(history)) if not history.ended(n) and n not in self.running)
            number = next(open_numbers, len(history))
            if number >= self.search.trials or self.exhausted or self.errors or self.spent():
                return END
            if len(self.running) >= self.concurrent or not all(map(history.ended, range(number - self.concurrent + 1))):
                return WAIT
            job = self._jobs.get(number) or self._job(number)
            if job is None:
                self.exhausted = True
                return END
            if job.refused:
                self.running[number] = job
                self.audience.started(job)
                self._end(job, "FAIL", reason=job.refused)
                continue
            if {work.key for work in self.missing(job)} & {
                w.key for o in self.running.values() for w in self.missing(o)
            }:
                return WAIT
            self.running[number] = job
            self.audience.started(job)
            if all(not self.look(job, work) for work in job.works) and self.missing(job):
                self._begin(job)
                return job
            if number in self.running:
                self._complete(job)

    def missing(self, job: Job) -> list[Work]:
        """The stages of a trial that are not done yet."""
        return [work for work in job.works if self.ledger.done(work.key) is None]

    def look(self, job: Job, work: Work) -> bool:
        """Read the curve of one of its trainings; whether the trial is pruned, and ended, by it."""
        if job.number not in self.running:
            return True  # it was ended before this news of it
        if not isinstance(work.stage, Training):
            return False
        finished = self.ledger.folder(work.key) / "curve.jsonl"
        rows = read_rows(finished if finished.is_file() else work.live)
        self.audience.rows(job, work, rows)
        if not self._fails(job, work, rows):
            return False
        if self._active.pop(job.number, None) == work.key:
            self.ledger.prune(work.key, "worse than its peers")
        self._end(job, "PRUNED", reason=f"{work.stage.kind} worse than its peers")
        return True

    def done(self, job: Job, work: Work, result: dict[str, Any]) -> bool:
        """A stage's folder is complete; whether the trial goes on."""
        if job.number not in self.running:
            return False
        self.ledger.finish(work.key, result)
        self._active.pop(job.number, None)
        if self.look(job, work):
            return False
        if self.missing(job):
            self._begin(job)
            return True
        self._complete(job)
        return False

    def failed(self, job: Job, work: Work, reason: str) -> None:
        """A stage ended in an error that belongs to its settings: the trial's result is that they do not work."""
        self._active.pop(job.number, None)
        self.ledger.fail(work.key, reason)
        self._end(job, "FAIL", reason=reason)

    def _job(self, number: int) -> Job | None:
        history, search = self.history, self.search
        new = number == len(history)
        if new:
            known = [*history.warm, *history.trials[: max(0, number - self.concurrent + 1)]]
            trial = search.suggest(number, known)
            if trial is None:
                return None
        else:
            trial = history.trials[number]
        params = search.params(trial)
        works: tuple[Work, ...] = ()
        about: dict[str, Any] = {}
        refused = ""
        try:
            arm = search.configuration(params, self.grid)
            works = self._works(arm, number)
            about = costs(arm, self.grid) if new else {}
        except Exception as error:
            if not (isinstance(error, ValueError) or of_the_settings(error)):
                raise
            refused, works = describe_error(error), ()
        if new:
            stages = [work.key for work in works]
            history.add(trial, {**about, "concurrent": self.concurrent, "stages": stages})
        known_works = tuple(replace(w, attempt=self.ledger.attempts(w.key) + 1) for w in works)
        self._jobs[number] = job = Job(number, params, known_works, refused)
        return job

    def _begin(self, job: Job) -> None:
        """Record that the first missing stage of a trial is being carried out."""
        work = self.missing(job)[0]
        self.ledger.start(work.key, work.stage.kind, work.label, work.stage.processes)
        self._active[job.number] = work.key

    def _fails(self, job: Job, work: Work, rows: list[dict[str, float]]) -> bool:
        """Whether the curve so far falls behind at a rung. Rows after that rung are none of the trial's."""
        if self.search.pruner == "none":
            return False
        stage, trial = training_stage(work), self.history.trials[job.number]
        settings = stage.optimization
        marks = rungs(self.search, settings.validations)
        seen: dict[int, float] = {}
        for row in rows:
            mark = int(row["step"]) * settings.validations // settings.steps
            seen[mark] = row[MONITORED[stage.kind]]
            if mark not in curves(trial).get(stage.kind, {}):
                self.history.curve(job.number, stage.kind, mark, seen[mark])
            if mark in marks and should_stop(self.search, seen, self._peers(job.number, stage.kind)):
                return True
        return False

    def _peers(self, number: int, kind: str) -> list[dict[int, float]]:
        trial = self.history.trials[number]
        before = itertools.islice(self.history.trials, max(0, number - trial.user_attrs["concurrent"] + 1))
        return [
            seen
            for peer in before  # one whose settings were refused has no curve, and no costs
            if (seen := curves(peer).get(kind)) and not dearer(self.search, peer.user_attrs, trial.user_attrs)
        ]

    def _complete(self, job: Job) -> None:
        measures = self._measures(job)
        values = [measures[name] for name in self.search.objectives]
        self._end(job, "COMPLETE", values, measures=measures)

    def _measures(self, job: Job) -> dict[str, float]:
        """Everything that may be an objective."""
        results = [self.ledger.done(work.key) or {} for work in job.works]
        found = results[-1]
        about = self.history.trials[job.number].user_attrs
        return {
            "psnr_gain_db": found["psnr_db"] - found["blurry_psnr_db"],
            "psf_snr_db": found["psf_snr_db"],
            "ssim_gain": found["ssim"] - found["blurry_ssim"],
            "latency_ms": found["latency_ms"],
            "gmacs": about["gmacs"],
            "parameters": about["parameters"],
            "training_s": sum(result["seconds"] for result in results[:-1]),
        }

    def _end(self, job: Job, state: str, values: list[float] | None = None, **about: Any) -> None:
        del self.running[job.number]
        self.history.note(job.number, **about)
        self.history.end(job.number, state, values)
        self.audience.ended(job, state, about)
