"""What a study leaves in MLflow for people to look at: a run of the study, a run for each of its parts, the report.

MLflow is never the truth: the ledger is. Rows that MLflow missed are sent again by the next run of the same command.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import ClassVar

from deepblur.platform.experiment import notes, provenance
from deepblur.platform.experiment.naming import part_name, shared_tags, study_name
from deepblur.platform.experiment.result import Result
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.stages.heartbeat import read_rows
from deepblur.platform.stages.identity import flatten, said
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.printable import note
from deepblur.platform.system.source_tree import commit
from deepblur.platform.tracking import names, pages
from deepblur.platform.tracking.connection import default_uri, shown
from deepblur.platform.tracking.no_tracker import NoTracker
from deepblur.platform.tracking.tracker import Tracker
from deepblur.platform.training.in_process import training_stage
from deepblur.platform.training.specification import Training

NOWHERE = "none"
REPORT = "report.html"
PICTURE = "overview.png"
"""Beside the report of a kind of study that has one: what to look at first."""
SYNC_S = 5.0
"""Seconds between two looks at the growing curves."""


class Record:
    """The MLflow run of a study, whatever its parts are, and its report folder.

    Args:
        parts: what tells the study from others of its name.
        params: of the study's run, beside preset, seeds and grid.
    """

    view: ClassVar[str] = "arms"
    """The saved view of the experiment that leads."""
    whole: ClassVar[str] = "the study's run"
    """What a part's description calls the run that it belongs to."""

    def __init__(self, plan: Plan, parts: Iterable[str], params: Mapping[str, str]) -> None:
        self.plan = plan
        self.key = hashlib.blake2b("/".join([plan.study.name, *parts]).encode(), digest_size=8).hexdigest()
        self.folder = plan.runs / "studies" / f"{plan.study.name}-{self.key}"
        self.tracker = open_tracker(plan, self.view)
        self.tags = shared_tags(plan, commit=commit(), device=provenance.circumstances_of(plan)["device"])
        tags = {**self.tags, "stage": "study", "command": plan.command}
        shared = {"preset": plan.preset, "seeds": str(plan.seeds), **params, **flatten(plan.grid, "grid")}
        self.parent = self.tracker.study_run(key=self.key, name=study_name(plan), params=shared, tags=tags)

    def child(self, key: str, name: str, params: dict[str, str], tags: dict[str, str], about: str) -> str:
        """The run of a part; `about` is what it is made of."""
        name = part_name(self.plan, name)
        links = {"report": self.tracker.page(self.parent, REPORT), self.whole: self.tracker.page(self.parent)}
        tags = {**self.tags, **tags, names.NOTE_TAG: notes.part_note(name, about, self.plan, links)}
        return self.tracker.child_run(parent=self.parent, key=f"{self.key}/{key}", name=name, params=params, tags=tags)

    def open_parts(self) -> Iterable[str]:
        """The runs of parts that end with the study's."""
        return ()

    def links(self) -> dict[str, str]:
        """Where people go on from the study's run."""
        return {"Open the report": self.tracker.page(self.parent, REPORT)}

    def made_from(self, metrics: Mapping[str, float]) -> None:
        """Write down from what all this was made, and with what it ended."""

    def last_words(self, result: Result) -> None:
        """What is left to do and to say when all is recorded."""
        result.finish(self)

    def finish(self, result: Result) -> None:
        """Write the report, log it, describe what came out, and print the result."""
        report = result.write(self.folder)
        metrics = result.metrics()
        self.made_from(metrics)
        self.tracker.log_folder(self.parent, self.folder)
        self.tracker.log_metrics(self.parent, metrics)
        if result.cost is not None:
            self.tracker.log_metrics(self.parent, result.cost.metrics())
        facts = {n.replace(", ", "."): text for n, text in result.facts.items() if n not in (*self.tags, "git commit")}
        described = {names.NOTE_TAG: notes.study_note(self.plan, result, self.links())}
        self.tracker.log_tags(self.parent, facts | described)
        note("\n" + result.text() + "\n")
        self.last_words(result)
        if (picture := report.with_name(PICTURE)).is_file():
            note(f"picture {picture}")
        note(f"report  {report}")
        show_where(self.plan)

    def close(self, ok: bool, stopped: bool = False) -> None:
        """End all runs; `stopped` says that it was somebody's wish and no failure."""
        for run in self.open_parts():
            self.tracker.finish(run, ok, stopped)
        self.tracker.finish(self.parent, ok, stopped)


class StagesRecord(Record):
    """The record of a graph of stages: a run per IN, and per arm and seed."""

    def __init__(self, plan: Plan, graph: Graph, ledger: Ledger) -> None:
        self.graph, self.ledger = graph, ledger
        self.provenance = provenance.take(plan, graph)
        self.refused = {arm: why for (arm, _), built in graph.arms.items() if (why := built.no_model())}
        """Arm whose networks become no model → why."""
        for why in dict.fromkeys(self.refused.values()):
            arms = ", ".join(arm for arm, said in self.refused.items() if said == why)
            note(f"no model will be made of the networks of {arms}, for {why}; all else is recorded")
        measured = (f"{arm}:{seed}:{','.join(keys)}" for (arm, seed), keys in graph.results.items())
        super().__init__(plan, [*plan.contrast, *measured], {})
        self.parts: dict[str, provenance.Json] = {}
        """Child run → the part of the study that it shows."""
        self.arms: dict[tuple[str, int], str] = {}
        """(arm, seed) → its run."""
        self.children = self._children()
        self.synced = 0.0
        for key in graph.works:
            if ledger.done(key) is not None:
                self.stage_done(graph.works[key])

    def _children(self) -> dict[str, list[str]]:
        """Key of a stage → the runs that show it: an arm's run, and one for each IN or training that arms share."""
        children: dict[str, list[str]] = {}
        users: dict[str, dict[str, int]] = {}
        for arm, seed in self.graph.results:
            for key in self.graph.trainings(arm, seed):
                users.setdefault(key, {})[arm] = seed
        for key, arms in users.items():
            work = self.graph.works[key]
            if work.stage.kind == "identify" or len(arms) > 1:
                tags = {"stage": work.stage.kind, "seed": str(training_stage(work).seed)}
                children[key] = [self.child(key, work.label, flatten(work.stage), tags, "")]
                arm, seed = next(iter(arms.items()))
                self.parts[children[key][0]] = {"stage": key, "arm": arm, "seed": seed}
        for (arm, seed), keys in self.graph.results.items():
            keywords = {"arm": arm, "seed": str(seed), **self.plan.study.keywords(arm, self.plan.settings)}
            method = self.graph.arms[arm, seed].label
            tags = {"stage": "arm", "arm": arm, "seed": str(seed), "method": method}
            about = ", ".join(f"{name}={said(value)}" for name, value in self.plan.study.arms.get(arm, {}).items())
            run = self.arms[arm, seed] = self.child(f"{arm}/{seed}", f"{arm}, seed {seed}", keywords, tags, about)
            self.parts[run] = {"arm": arm, "seed": seed}
            for key in keys:
                children.setdefault(key, []).append(run)
            for key in self.graph.trainings(arm, seed):
                children.setdefault(key, [run])
        return children

    def follow(self, running: list[Work]) -> None:
        """Send the curves as they grow."""
        if time.time() - self.synced < SYNC_S:
            return
        self.synced = time.time()
        for work in running:
            self._rows(work, work.live_rows())

    def stage_done(self, work: Work) -> None:
        """Send a training's whole curve, and what the record of an arm tells of the stages that measure it."""
        result = self.ledger.done(work.key) or {}
        if isinstance(work.stage, Training):
            self._rows(work, read_rows(self.ledger.folder(work.key) / "curve.jsonl"))
        if measured := work.stage.measured(result):
            for run in self.children[work.key]:
                self.tracker.log_metrics(run, measured)

    def _rows(self, work: Work, rows: list[dict[str, float]]) -> None:
        named = [names.curve(work.stage.kind, row) for row in rows]
        for run in self.children[work.key]:
            self.tracker.log_rows(run, named)

    def open_parts(self) -> Iterable[str]:
        return {run for runs in self.children.values() for run in runs}

    def links(self) -> dict[str, str]:
        compared = {"Compare the arms": self.tracker.comparison(list(self.arms.values()))}
        return {**super().links(), **compared, "All arms of this study": self.tracker.view(self.view)}

    def made_from(self, metrics: Mapping[str, float]) -> None:
        """In the report folder and in every child run."""
        made_with = self.provenance.ingredients["made_with"]
        outcome = provenance.outcome(self.graph, self.ledger, metrics, made_with)
        self.provenance.write(self.folder, outcome)
        for run, part in self.parts.items():
            self.tracker.log_text(run, self.provenance.text(outcome, part), provenance.FILE)

    def finish(self, result: Result) -> None:
        """Also each arm's means and pictures, in its run."""
        for where, means in result.by_run().items():
            self.tracker.log_metrics(self.arms[where], means)
        for arm, pictures in result.pictures_by_arm().items():
            self.tracker.log_pictures(self.arms[arm, min(self.plan.seeds)], pictures)
        super().finish(result)

    def last_words(self, result: Result) -> None:
        super().last_words(result)
        if result.cost is not None:
            note(f"cost    {result.cost.sentence()}")


def open_tracker(plan: Plan, view: str) -> NoTracker:
    """Where the plan wants its record, with a description and saved views of the study, of which one leads."""
    if plan.tracking_uri == NOWHERE:
        return NoTracker()
    uri = plan.tracking_uri or default_uri(plan.runs)
    tracker = Tracker.open(uri, plan.study.name, plan.runs / "mlartifacts", plan.runs)
    links = {pages.VIEWS[view].name: tracker.view(view)}
    about = {names.NOTE_TAG: notes.experiment_note(plan, links)}
    tracker.describe({**pages.KIND, **pages.view_tags(), **about})
    return tracker


def show_where(plan: Plan) -> None:
    """Print what opens the record in MLflow."""
    if plan.tracking_uri != NOWHERE:
        note(opening(plan.tracking_uri or default_uri(plan.runs)))


def opening(uri: str) -> str:
    """The line that says how a record is opened in MLflow."""
    return f"mlflow  {shown(uri) if uri.startswith('http') else f'mlflow ui --backend-store-uri {shown(uri)}'}"
