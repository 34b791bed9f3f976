"""What a study leaves in MLflow for people to look at: a parent run, a run per IN and per arm and seed, and the models.

MLflow is never the truth: the ledger is. Rows that MLflow missed are sent again by the next run of the same command.
"""

import hashlib
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from deepblur.operators import ZernikeBlur
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.arms.trained.result import StudyResult
from deepblur.platform.data.store import open_store
from deepblur.platform.experiment import notes as run_notes
from deepblur.platform.experiment import provenance
from deepblur.platform.experiment.naming import part_name, shared_tags, study_name
from deepblur.platform.experiment.result import LAYOUTS, Result
from deepblur.platform.experiment.study import Plan
from deepblur.platform.models.calibration import calibrate
from deepblur.platform.models.card import VALIDATED_TAG, make_card, render
from deepblur.platform.models.model import save_model
from deepblur.platform.stages.failure import describe_error
from deepblur.platform.stages.heartbeat import read_rows
from deepblur.platform.stages.identity import flatten, said
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.stages.stage import Work
from deepblur.platform.system.disk import is_full
from deepblur.platform.system.printable import note
from deepblur.platform.system.source_tree import commit
from deepblur.platform.tracking import names as naming
from deepblur.platform.tracking import pages as dashboard
from deepblur.platform.tracking.connection import default_uri, shown
from deepblur.platform.tracking.tracker import NoTracker, Tracker
from deepblur.platform.training.in_process import load_network, training_stage
from deepblur.platform.training.specification import Training
from deepblur.platform.training.tasks import identifier_config

if TYPE_CHECKING:
    from deepblur.platform.experiment.study import Graph

NOWHERE = "none"
REPORT = "report.html"
SYNC_S = 5.0
"""Seconds between two looks at the growing curves."""


class Record:
    """The MLflow runs of one study and its report folder."""

    def __init__(self, plan: Plan, graph: "Graph", ledger: Ledger) -> None:
        self.plan, self.graph, self.ledger = plan, graph, ledger
        measured = (f"{arm}:{seed}:{','.join(keys)}" for (arm, seed), keys in graph.results.items())
        text = "/".join([plan.study.name, *plan.contrast, *measured])
        self.key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder = plan.runs / "studies" / f"{plan.study.name}-{self.key}"
        self.tracker = open_tracker(plan, view="arms")
        self.provenance = provenance.take(plan, graph)
        self.refused = {arm: why for (arm, _), built in graph.arms.items() if (why := _no_model(built))}
        """Arm whose networks become no model → why."""
        for why in dict.fromkeys(self.refused.values()):
            arms = ", ".join(arm for arm, said in self.refused.items() if said == why)
            note(f"no model will be made of the networks of {arms}, for {why}; all else is recorded")
        device = self.provenance.ingredients["made_with"]["device"]
        self.tags = shared_tags(plan, commit=commit(), device=device)
        tags = {**self.tags, "stage": "study", "command": plan.command}
        shared = {"preset": plan.preset, "seeds": str(plan.seeds), **flatten(plan.grid, "grid")}
        self.parent = self.tracker.study_run(key=self.key, name=study_name(plan), params=shared, tags=tags)
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
                children[key] = [self._child(key, work.label, flatten(work.stage), tags, "")]
                arm, seed = next(iter(arms.items()))
                self.parts[children[key][0]] = {"stage": key, "arm": arm, "seed": seed}
        for (arm, seed), keys in self.graph.results.items():
            keywords = {"arm": arm, "seed": str(seed), **self.plan.study.keywords(arm, self.plan.settings)}
            method = self.graph.arms[arm, seed].label
            tags = {"stage": "arm", "arm": arm, "seed": str(seed), "method": method}
            about = ", ".join(f"{name}={said(value)}" for name, value in self.plan.study.arms.get(arm, {}).items())
            run = self.arms[arm, seed] = self._child(f"{arm}/{seed}", f"{arm}, seed {seed}", keywords, tags, about)
            self.parts[run] = {"arm": arm, "seed": seed}
            for key in keys:
                children.setdefault(key, []).append(run)
            for key in self.graph.trainings(arm, seed):
                children.setdefault(key, [run])
        return children

    def _child(self, key: str, name: str, params: dict[str, str], tags: dict[str, str], about: str) -> str:
        name = part_name(self.plan, name)
        tags = {**self.tags, **tags, naming.NOTE_TAG: run_notes.part_note(name, about, self.plan, self._links())}
        return self.tracker.child_run(parent=self.parent, key=f"{self.key}/{key}", name=name, params=params, tags=tags)

    def _links(self) -> dict[str, str]:
        """Where people go on from any run of the study."""
        return {
            "report": self.tracker.page(self.parent, REPORT),
            "the study's run": self.tracker.page(self.parent),
        }

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
        named = [naming.curve(work.stage.kind, row) for row in rows]
        for run in self.children[work.key]:
            self.tracker.log_rows(run, named)

    def finish(self, result: Result) -> None:
        """Write the report, log it, register what was trained for use, and print the result."""
        layout = LAYOUTS[type(result)]
        report = layout.write(result, self.folder)
        metrics = layout.metrics(result)
        self._provenance(metrics)
        self.tracker.log_folder(self.parent, self.folder)
        self.tracker.log_metrics(self.parent, metrics)
        if result.cost is not None:
            self.tracker.log_metrics(self.parent, result.cost.metrics())
        self._describe(result)
        note("\n" + layout.text(result) + "\n")
        if isinstance(result, StudyResult):
            for arm in self.plan.arms:
                if arm not in self.refused:
                    self._try_to_register(arm, result)
        if result.cost is not None:
            note(f"cost    {result.cost.sentence()}")
        note(f"report  {report}")
        show_where(self.plan)

    def _describe(self, result: Result) -> None:
        """Tell people what came out: each arm's means and pictures, the study's description with links to both."""
        layout = LAYOUTS[type(result)]
        for where, means in layout.by_run(result).items():
            self.tracker.log_metrics(self.arms[where], means)
        for arm, pictures in layout.pictures(result).items():
            self.tracker.log_pictures(self.arms[arm, min(self.plan.seeds)], pictures)
        facts = {n.replace(", ", "."): text for n, text in result.facts.items() if n not in (*self.tags, "git commit")}
        links = {
            "Open the report": self.tracker.page(self.parent, REPORT),
            "Compare the arms": self.tracker.comparison(list(self.arms.values())),
            "All arms of this study": self.tracker.view("arms"),
        }
        described = {naming.NOTE_TAG: run_notes.study_note(self.plan, result, links)}
        self.tracker.log_tags(self.parent, facts | described)

    def _provenance(self, metrics: dict[str, float]) -> None:
        """From what all this was made, and with what it ended: in the report folder and in every child run."""
        made_with = self.provenance.ingredients["made_with"]
        outcome = provenance.outcome(self.graph, self.ledger, metrics, made_with)
        self.provenance.write(self.folder, outcome)
        for run, part in self.parts.items():
            self.tracker.log_text(run, self.provenance.text(outcome, part), provenance.FILE)

    def _try_to_register(self, arm: str, result: StudyResult) -> None:
        """A study is complete whether or not its networks make a model; only a disk that fails is another matter."""
        try:
            self._register(arm, result)
        except Exception as error:  # of whatever saves, loads, measures and describes a model
            if isinstance(error, OSError) or is_full(error):
                raise
            note(f"model   none of arm {arm!r} ({describe_error(error)}); all else is recorded")

    def _register(self, arm: str, result: StudyResult) -> None:
        """Register the arm's model of the seed that validated best, never of the one that tested best."""
        from deepblur.platform.registry.publish import log_and_register

        seed = max(self.plan.seeds, key=lambda seed: self._validated(arm, seed))
        stages = self.graph.arms[arm, seed]
        assert isinstance(stages, Arm)
        operator = stages.identify.degradation.operator
        items = result.items[(result.items.arm == arm) & (result.items.seed == seed)]
        run = self.children[self.graph.results[arm, seed][0]][0]
        origin = {"study": self.plan.study.name, "preset": self.plan.preset, "arm": arm, "seed": str(seed)}
        identifier = load_network(self.plan.runs, self.graph.inputs(arm, seed)["identify"], stages.identify)
        store, held = (open_store(sources, self.plan.runs / "cache", progress=False)
                       for sources in (stages.identify.train, stages.identify.validation))  # fmt: skip
        card = make_card(
            {**origin, "commit": commit(), "run": run},
            stages.identify.degradation,
            stages.identify.train,
            items,
            parameters=flatten(stages),
            images=len(store),
            fingerprint=store.fingerprint,
            validated={"psnr_db": self._validated(arm, seed)},
        )
        card["uncertainty"] = calibrate(identifier, stages.identify.degradation, held)
        folder = self.plan.runs / "models" / self.folder.name / naming.file_name(arm)
        save_model(
            folder,
            operator=operator,
            identifier_config=identifier_config(stages.identify),
            identifier=identifier,
            deblurrer_config=stages.deblur.network,
            deblurrer=load_network(self.plan.runs, self.graph.inputs(arm, seed)["deblur"], stages.deblur),
            card=card,
            readme=render(card),
        )
        example = result.pictures[0].blurry[None, None].astype(np.float32)
        tags = {**origin, VALIDATED_TAG: f"{self._validated(arm, seed):.3f}"}
        version = log_and_register(
            self.tracker, run, folder, tags=tags, example=example, description=render(card, f"{arm}, seed {seed}")
        )
        if version:
            note(f"model   models:/deepblur/{version} is arm {arm!r}, seed {seed}")

    def _validated(self, arm: str, seed: int) -> float:
        curve = read_rows(self.ledger.folder(self.graph.inputs(arm, seed)["deblur"]) / "curve.jsonl")
        return curve[-1]["val_psnr_db"]

    def close(self, ok: bool, stopped: bool = False) -> None:
        """End all runs; `stopped` says that it was somebody's wish and no failure."""
        for run in {run for runs in self.children.values() for run in runs}:
            self.tracker.finish(run, ok, stopped)
        self.tracker.finish(self.parent, ok, stopped)


def _no_model(arm: object) -> str:
    """Why `save_model` would refuse the networks of an arm; "" where it would not, or there are none."""
    if not isinstance(arm, Arm):
        return ""
    operator = arm.identify.degradation.operator
    if type(operator) is not ZernikeBlur:
        return f"their operator is a {type(operator).__name__} and a model's is a ZernikeBlur"
    if own := [said(part) for stage in (arm.identify, arm.deblur) if (part := stage.own())]:
        return f"{' and '.join(own)} {'is' if len(own) == 1 else 'are'} the study's own and a model holds no code"
    try:
        json.dumps([asdict(operator), identifier_config(arm.identify), arm.deblur.network])
    except (TypeError, ValueError) as error:
        return f"their settings are not JSON values ({error})"
    return ""


def open_tracker(plan: Plan, view: str) -> NoTracker:
    """Where the plan wants its record, with a description and saved views of the study, of which one leads."""
    if plan.tracking_uri == NOWHERE:
        return NoTracker()
    uri = plan.tracking_uri or default_uri(plan.runs)
    tracker = Tracker.open(uri, plan.study.name, plan.runs / "mlartifacts", plan.runs)
    links = {dashboard.VIEWS[view].name: tracker.view(view)}
    about = {naming.NOTE_TAG: run_notes.experiment_note(plan, links)}
    tracker.describe({**dashboard.KIND, **dashboard.view_tags(), **about})
    return tracker


def show_where(plan: Plan) -> None:
    """Print what opens the record in MLflow."""
    if plan.tracking_uri != NOWHERE:
        uri = plan.tracking_uri or default_uri(plan.runs)
        note(f"mlflow  {shown(uri) if uri.startswith('http') else f'mlflow ui --backend-store-uri {shown(uri)}'}")
