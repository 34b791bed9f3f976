"""What a search leaves in MLflow for people to look at: the record of a study, whose parts are trials."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from deepblur.platform.arms.search.history import FILE, History
from deepblur.platform.arms.search.loop import Job
from deepblur.platform.arms.search.search import OBJECTIVES, Search
from deepblur.platform.experiment.record import Record
from deepblur.platform.experiment.result import Result
from deepblur.platform.experiment.study import Plan
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.printable import note
from deepblur.platform.tracking import names

Where = tuple[str, int]
"""A sampler's name in the study and its seed."""


class SearchRecord(Record):
    """The record of a search: a run per trial."""

    view: ClassVar[str] = "trials"
    whole: ClassVar[str] = "the search"

    def __init__(self, plan: Plan, searches: Mapping[Where, Search], histories: Mapping[Where, History]) -> None:
        self.searches, self.histories = searches, histories
        some = next(iter(searches.values()))
        params = {"trials": str(some.trials), "objectives": ", ".join(some.objectives)}
        params |= {f"space.{name}": str(part) for name, part in some.space.items()}
        super().__init__(plan, (f"{arm}:{seed}:{h.folder.name}" for (arm, seed), h in histories.items()), params)
        self.open: dict[tuple[str, int, int], str] = {}

    def audience(self, arm: str, seed: int) -> "Trials":
        return Trials(self, arm, seed)

    def trial(self, arm: str, seed: int, number: int) -> str:
        """The run of a trial, opened if it is not."""
        where = (arm, seed, number)
        if where not in self.open:
            search, trial = self.searches[arm, seed], self.histories[arm, seed].trials[number]
            settings = search.params(trial)
            command = search.command(self.plan.preset, settings)
            tags = {"stage": "trial", "arm": arm, "seed": str(seed), "trial": str(number), "method": search.label}
            self.open[where] = self.child(
                f"{arm}/{seed}/{number}",
                f"{arm}, trial {number}, seed {seed}",
                params={name: str(value) for name, value in settings.items()},
                tags={**tags, "command": command},
                about=command,
            )
        return self.open[where]

    def settle(self, arm: str, seed: int, number: int) -> None:
        """Record how a trial ended; what MLflow missed before is sent again."""
        history = self.histories[arm, seed]
        trial = history.trials[number]
        run, about = self.trial(arm, seed, number), trial.user_attrs
        self.tracker.log_tags(run, {"state": trial.state.name.lower(), "reason": about.get("reason", "")})
        self.tracker.log_metrics(run, names.measured("grid", about.get("measures", {})))
        self.tracker.finish(run, trial.state.name != "FAIL")
        del self.open[arm, seed, number]
        if run and not self.tracker.problems:
            history.mark_recorded(number)

    def open_parts(self) -> Iterable[str]:
        return self.open.values()

    def links(self) -> dict[str, str]:
        return {**super().links(), "Trials": self.tracker.view(self.view)}

    def finish(self, result: Result) -> None:
        for (arm, seed), history in self.histories.items():
            for number in set(filter(history.ended, range(len(history)))) - history.recorded:
                self.settle(arm, seed, number)
        super().finish(result)

    def last_words(self, result: Result) -> None:
        for history in self.histories.values():
            note(f"optuna  optuna-dashboard sqlite:///{history.folder / FILE}")


class Trials:
    """The audience of one sampler's trials: MLflow and the person who waits."""

    def __init__(self, record: SearchRecord, arm: str, seed: int) -> None:
        self.record, self.arm, self.seed = record, arm, seed
        self.search, self.history = record.searches[arm, seed], record.histories[arm, seed]

    def started(self, job: Job) -> None:
        self.record.trial(self.arm, self.seed, job.number)

    def rows(self, job: Job, work: Work, rows: list[dict[str, float]]) -> None:
        run = self.record.trial(self.arm, self.seed, job.number)
        self.record.tracker.log_rows(run, [names.curve(work.stage.kind, row) for row in rows])

    def ended(self, job: Job, state: str, about: Mapping[str, Any]) -> None:
        self.record.settle(self.arm, self.seed, job.number)
        ended = sum(map(self.history.ended, range(len(self.history))))
        measures = about.get("measures", {})
        figures = ", ".join(f"{OBJECTIVES[name].label} {measures[name]:.4g}" for name in self.search.objectives
                            if name in measures)  # fmt: skip
        settings = " ".join(f"{name}={value}" for name, value in job.params.items())
        note(f"[{ended}/{self.search.trials}] {self.arm} trial {job.number} {state.lower()}: "
             f"{figures or about.get('reason', '')} ({settings})")  # fmt: skip
