"""What a search leaves in MLflow for people to look at: a parent run, a run per trial, the report."""

import hashlib
from collections.abc import Mapping
from typing import Any

from deepblur.platform.arms.search.history import FILE, History
from deepblur.platform.arms.search.loop import Job
from deepblur.platform.arms.search.result import SearchResult
from deepblur.platform.arms.search.search import OBJECTIVES, Search
from deepblur.platform.experiment import notes as run_notes
from deepblur.platform.experiment.naming import part_name, shared_tags, study_name
from deepblur.platform.experiment.provenance import circumstances_of
from deepblur.platform.experiment.record import REPORT, open_tracker, show_where
from deepblur.platform.experiment.result import LAYOUTS
from deepblur.platform.experiment.study import Plan
from deepblur.platform.stages.identity import flatten
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.printable import note
from deepblur.platform.system.source_tree import commit
from deepblur.platform.tracking import names as naming

Where = tuple[str, int]
"""A sampler's name in the study and its seed."""


class SearchRecord:
    """The MLflow runs of one search study and its report folder."""

    def __init__(self, plan: Plan, searches: Mapping[Where, Search], histories: Mapping[Where, History]) -> None:
        self.plan, self.searches, self.histories = plan, searches, histories
        text = "/".join([plan.study.name, *(f"{arm}:{seed}:{h.folder.name}" for (arm, seed), h in histories.items())])
        self.key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder = plan.runs / "studies" / f"{plan.study.name}-{self.key}"
        self.tracker = open_tracker(plan, view="trials")
        some = next(iter(searches.values()))
        params = {
            "preset": plan.preset,
            "seeds": str(plan.seeds),
            "trials": str(some.trials),
            "objectives": ", ".join(some.objectives),
            **{f"space.{name}": str(part) for name, part in some.space.items()},
            **flatten(plan.grid, "grid"),
        }
        device = circumstances_of(plan)["device"]
        self.tags = shared_tags(plan, commit=commit(), device=device)
        tags = {**self.tags, "stage": "study", "command": plan.command}
        self.parent = self.tracker.study_run(key=self.key, name=study_name(plan), params=params, tags=tags)
        self.open: dict[tuple[str, int, int], str] = {}

    def audience(self, arm: str, seed: int) -> "Trials":
        return Trials(self, arm, seed)

    def child(self, arm: str, seed: int, number: int) -> str:
        """The run of a trial, opened if it is not."""
        where = (arm, seed, number)
        if where not in self.open:
            search, trial = self.searches[arm, seed], self.histories[arm, seed].trials[number]
            settings = search.params(trial)
            command = search.command(self.plan.preset, settings)
            name = part_name(self.plan, f"{arm}, trial {number}, seed {seed}")
            links = {"report": self.tracker.page(self.parent, REPORT), "the search": self.tracker.page(self.parent)}
            tags = {"stage": "trial", "arm": arm, "seed": str(seed), "trial": str(number), "method": search.sampler}
            described = {"command": command, naming.NOTE_TAG: run_notes.part_note(name, command, self.plan, links)}
            self.open[where] = self.tracker.child_run(
                parent=self.parent,
                key=f"{self.key}/{arm}/{seed}/{number}",
                name=name,
                params={name: str(value) for name, value in settings.items()},
                tags={**self.tags, **tags, **described},
            )
        return self.open[where]

    def settle(self, arm: str, seed: int, number: int) -> None:
        """Record how a trial ended; what MLflow missed before is sent again."""
        history = self.histories[arm, seed]
        trial = history.trials[number]
        run, about = self.child(arm, seed, number), trial.user_attrs
        self.tracker.log_tags(run, {"state": trial.state.name.lower(), "reason": about.get("reason", "")})
        self.tracker.log_metrics(run, naming.measured("grid", about.get("measures", {})))
        self.tracker.finish(run, trial.state.name != "FAIL")
        del self.open[arm, seed, number]
        if run and not self.tracker.problems:
            history.mark_recorded(number)

    def finish(self, result: SearchResult) -> None:
        """Write the report, log it, and print the result."""
        for (arm, seed), history in self.histories.items():
            for number in set(filter(history.ended, range(len(history)))) - history.recorded:
                self.settle(arm, seed, number)
        layout = LAYOUTS[SearchResult]
        report = layout.write(result, self.folder)
        self.tracker.log_folder(self.parent, self.folder)
        self.tracker.log_metrics(self.parent, layout.metrics(result))
        if result.cost is not None:
            self.tracker.log_metrics(self.parent, result.cost.metrics())
        facts = {n.replace(", ", "."): text for n, text in result.facts.items() if n not in (*self.tags, "git commit")}
        links = {"Open the report": self.tracker.page(self.parent, REPORT), "Trials": self.tracker.view("trials")}
        described = {naming.NOTE_TAG: run_notes.study_note(self.plan, result, links)}
        self.tracker.log_tags(self.parent, facts | described)
        note("\n" + layout.text(result) + "\n")
        for history in self.histories.values():
            note(f"optuna  optuna-dashboard sqlite:///{history.folder / FILE}")
        note(f"report  {report}")
        show_where(self.plan)

    def close(self, ok: bool, stopped: bool = False) -> None:
        for run in self.open.values():
            self.tracker.finish(run, ok, stopped)
        self.tracker.finish(self.parent, ok, stopped)


class Trials:
    """The audience of one sampler's trials: MLflow and the person who waits."""

    def __init__(self, record: SearchRecord, arm: str, seed: int) -> None:
        self.record, self.arm, self.seed = record, arm, seed
        self.search, self.history = record.searches[arm, seed], record.histories[arm, seed]

    def started(self, job: Job) -> None:
        self.record.child(self.arm, self.seed, job.number)

    def rows(self, job: Job, work: Work, rows: list[dict[str, float]]) -> None:
        run = self.record.child(self.arm, self.seed, job.number)
        self.record.tracker.log_rows(run, [naming.curve(work.stage.kind, row) for row in rows])

    def ended(self, job: Job, state: str, about: Mapping[str, Any]) -> None:
        self.record.settle(self.arm, self.seed, job.number)
        ended = sum(map(self.history.ended, range(len(self.history))))
        measures = about.get("measures", {})
        figures = ", ".join(f"{OBJECTIVES[name].label} {measures[name]:.4g}" for name in self.search.objectives
                            if name in measures)  # fmt: skip
        settings = " ".join(f"{name}={value}" for name, value in job.params.items())
        note(f"[{ended}/{self.search.trials}] {self.arm} trial {job.number} {state.lower()}: "
             f"{figures or about.get('reason', '')} ({settings})")  # fmt: skip
